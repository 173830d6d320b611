"""Speakers who are named by a sample that comes with the request: OpenAI's ``known_speaker_names``."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from stream_server.jobs.job import TranscriptionOptions
from tests.support.clip import PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speakers import FakeSpeakers
from tests.support.tone import RATE, ToneDiarizer, ToneEmbedder, silence, voice

KEY = "sk-one"
JOBS = "/v1/transcription-jobs"
PRIYA, RAHUL = 400, 1200


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Running]:
    """Nobody works on its jobs: so they can be looked at."""
    speakers = FakeSpeakers(ToneDiarizer(), ToneEmbedder())
    monkeypatch.setattr("stream_server.app.load_speakers", lambda *_, **__: speakers)
    async with running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", api_keys=(KEY,)) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False, headers=headers, timeout=60) as client:
        yield client


def wav(*pieces: NDArray[np.float32], rate: int = RATE, channels: int = 1) -> bytes:
    file = io.BytesIO()
    samples = np.concatenate(pieces)
    soundfile.write(file, np.stack([samples] * channels, axis=1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def data_url(content: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(content).decode()


async def make(http: httpx2.AsyncClient, *known: tuple[str, str], **form: str) -> httpx2.Response:
    fields: dict[str, Any] = {
        "model": "whisper-1",
        "known_speaker_names[]": [name for name, _ in known],
        "known_speaker_references[]": [reference for _, reference in known],
    }
    return await http.post(JOBS, data=fields | form, files={"file": ("a.wav", clip())})


async def options_of(server: Running, job: str) -> TranscriptionOptions:
    transcriptions = server.service.transcriptions
    assert transcriptions is not None
    caller = await server.service.keys.authenticate(KEY)
    return (await transcriptions.get(caller, job)).options


async def test_a_job_has_their_voices_and_not_their_samples(http: httpx2.AsyncClient, server: Running) -> None:
    made = await make(http, ("Priya", data_url(wav(voice(PRIYA, 3)))), ("Rahul", data_url(wav(voice(RAHUL, 4)))))
    assert made.status_code == 202, made.text
    options = await options_of(server, made.json()["id"])
    assert options.diarize
    assert [(known.name, known.embedder) for known in options.known_voices] == [("Priya", "tone"), ("Rahul", "tone")]
    for known, pitch in zip(options.known_voices, (PRIYA, RAHUL), strict=True):
        vector = np.frombuffer(base64.b64decode(known.vector), "<f4")
        assert vector @ ToneEmbedder().embed(voice(pitch, 2)) == pytest.approx(1, abs=1e-3)
    stored = [path for path in (server.service.settings.data_dir / "objects").rglob("*") if path.is_file()]
    assert len(stored) == 1  # the recording itself


async def test_as_long_and_as_fine_as_it_may_be(http: httpx2.AsyncClient) -> None:
    """Four samples of ten seconds, in two channels at 48 kHz: more than a form may otherwise have."""
    finest = data_url(wav(np.tile(voice(PRIYA, 10), 3), rate=3 * RATE, channels=2))
    made = await make(http, *((name, finest) for name in ("A", "B", "C", "D")))
    assert made.status_code == 202, made.text


async def test_as_json(http: httpx2.AsyncClient, server: Running) -> None:
    body = {
        "model": "whisper-1",
        "url": "https://example.com/a.wav",
        "known_speaker_names": ["Priya"],
        "known_speaker_references": [data_url(wav(voice(PRIYA, 3)))],
    }
    made = await http.post(JOBS, json=body)
    assert made.status_code == 202, made.text
    assert [known.name for known in (await options_of(server, made.json()["id"])).known_voices] == ["Priya"]


async def test_a_data_url_without_base64(http: httpx2.AsyncClient) -> None:
    flac = io.BytesIO()
    soundfile.write(flac, voice(PRIYA, 2), RATE, format="FLAC")
    made = await make(http, ("Priya", "data:audio/flac," + quote(flac.getvalue())))
    assert made.status_code == 202, made.text


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        ("https://example.com/a.wav", "INVALID_PARAMETER", "it has to be a data URL"),
        ("data:audio/wav;base64", "INVALID_PARAMETER", "it has to be a data URL"),
        ("data:audio/wav;base64,???", "INVALID_PARAMETER", "base64 cannot be decoded"),
        ("data:audio/wav;base64,", "UNSUPPORTED_FORMAT", "empty"),
        (data_url(PICTURE), "UNSUPPORTED_FORMAT", "not audio or video"),
        (data_url(wav(voice(PRIYA, 1.5))), "INVALID_PARAMETER", "it is 1.5 s long; at least 2 s are needed"),
        (data_url(wav(voice(PRIYA, 11))), "INVALID_PARAMETER", "it is longer than 10 s"),
        (data_url(wav(silence(3))), "INVALID_PARAMETER", "no speech is heard"),
        (data_url(wav(voice(PRIYA, 0.5), silence(2))), "INVALID_PARAMETER", "speech are heard; at least 1 s"),
        (data_url(wav(voice(PRIYA, 2), voice(RAHUL, 2))), "INVALID_PARAMETER", "2 voices are heard"),
    ],
    ids=["address", "no content", "no base64", "empty", "picture", "short", "long", "silence", "a word", "two"],
)
async def test_a_sample_that_is_none(
    http: httpx2.AsyncClient, server: Running, reference: str, code: str, message: str
) -> None:
    """It is said whose, and nothing is left of the request."""
    made = await make(http, ("Priya", data_url(wav(voice(PRIYA, 3)))), ("Rahul", reference))
    assert (made.status_code, made.json()["error"]["code"]) == (400, code)
    assert made.json()["error"]["param"] == "known_speaker_references"
    assert made.json()["detail"].startswith("the sample of 'Rahul': ")
    assert message in made.json()["detail"]
    folder = server.service.settings.data_dir / "objects"
    async with asyncio.timeout(30):
        while any(path.is_file() for path in folder.rglob("*")):
            await asyncio.sleep(0.01)
