"""The published client of the service whose protocol ours extends works against us, unchanged; and what it lacks."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import soundfile

from tests.support.caller import transcribe
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.running import Running, running_server
from tests.support.speech import moonshine, pcm, recording

shunyalabs = pytest.importorskip("shunyalabs.asr", reason="pip install shunyalabs==3.0.3")


def client(url: str, key: str = "none") -> Any:
    from shunyalabs._core._auth import StaticKeyAuth

    return shunyalabs.AsyncStreamingASR(StaticKeyAuth(key), url)


async def test_a_file_is_streamed_and_transcribed(tmp_path: Path) -> None:
    speech = pcm(recording("beckett.wav"))
    file = tmp_path / "rest.raw"
    file.write_bytes(speech[80_000:])
    kinds = shunyalabs.StreamingMessageType
    heard: dict[str, list[Any]] = {kind: [] for kind in kinds}
    async with running_server(moonshine()) as server:
        connection = await client(server.ws_url).stream(config=shunyalabs.StreamingConfig(language="en"))
        assert connection.session_id
        for kind in kinds:
            connection.on(kind, heard[kind].append)
        shown = asyncio.Event()
        connection.on(kinds.PARTIAL, lambda partial: shown.set())
        await connection.send_audio(speech[:80_000])
        await asyncio.wait_for(shown.wait(), 30)
        await connection.stream_file(file)
        await connection.close()
    assert heard[kinds.ERROR] == []
    assert heard[kinds.PARTIAL][-1].text
    assert "tried" in heard[kinds.FINAL_SEGMENT][0].text.lower()
    (done,) = heard[kinds.DONE]
    assert done.total_segments == len(heard[kinds.FINAL_SEGMENT])
    assert done.total_audio_duration_sec == pytest.approx(len(recording("beckett.wav")) / 16_000, abs=0.001)


async def test_its_model_is_known_live() -> None:
    async with running_server(FakeRecognizer(), api_keys=("x",)) as server:
        init = {"api_key": "x", "model": "zero-indic", "language": "en", "sample_rate": 16000, "dtype": "int16"}
        caller = await transcribe(server.ws_url, bytes(3200), init)
    assert (caller.of("ready")[0]["model"], caller.of("error")) == ("fake", [])


async def test_its_key_is_checked() -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-right",)) as server:
        connection = await client(server.ws_url, "sk-right").stream()
        await connection.end()
        await connection.close()
        with pytest.raises(Exception, match="401"):
            await client(server.ws_url, "sk-wrong").stream()
        with pytest.raises(Exception, match="is not spoken by fake; it speaks: en"):
            await client(server.ws_url, "sk-right").stream(config=shunyalabs.StreamingConfig(language="tlh"))


KEY = "sk-right"


def wav(name: str, start: float = 0, end: float | None = None) -> bytes:
    """A recording as a file; of it, so many seconds."""
    buffer = io.BytesIO()
    samples = recording(name)[round(start * 16_000) : None if end is None else round(end * 16_000)]
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("shunyalabs")
    allowed = ("127.0.0.0/8",)
    with hosted_server(
        moonshine(), data_dir=folder, job_worker="inline", api_keys=(KEY,), allowed_hosts=allowed
    ) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False, headers=headers) as client:
        yield client


def batch(server: Running, *, key: str = KEY) -> Any:
    from shunyalabs._core._auth import StaticKeyAuth
    from shunyalabs._core._http_transport import SyncHttpTransport

    auth = StaticKeyAuth(key)
    return shunyalabs.SyncBatchASR(auth, SyncHttpTransport(server.http_url, auth, max_retries=0))


def config(**wanted: Any) -> Any:
    return shunyalabs.TranscriptionConfig(model="zero-indic", **wanted)


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """A web server on an address of this machine that the client does not know to be one."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.2", 0), Quiet)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.2:{web.server_port}"
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


def test_a_recording_is_transcribed(server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where there is an ffmpeg, the client sends another file than the one it was given.
    monkeypatch.setattr("shunyalabs.asr._batch._FFMPEG", None)
    file = tmp_path / "beckett.wav"
    file.write_bytes(wav("beckett.wav"))
    with closing(batch(server)) as client, site(tmp_path) as url:
        result = client.transcribe(file, config=config(language_code="en", word_timestamps=True))
        fetched = client.transcribe(url=f"{url}/beckett.wav", config=config())
    assert result.success
    assert "no matter" in result.text.lower()
    assert result.detected_language == "English"
    assert result.request_id
    assert result.audio_duration == pytest.approx(len(recording("beckett.wav")) / 16_000, abs=0.01)
    assert result.inference_time_ms > 0
    assert " ".join(segment.text for segment in result.segments) == result.text
    words = [word for segment in result.segments for word in segment.words]
    assert " ".join(word.word for word in words) == result.text
    assert all(0 <= word.score <= 1 and word.start <= word.end for word in words)
    assert fetched.text == result.text
    assert fetched.segments[0].words is None


def test_speakers_are_told_apart_and_called_by_name(server: Running) -> None:
    """One of the two is registered."""
    file = io.BytesIO(wav("endgame_nagg_nell.wav"))
    with closing(batch(server)) as client:
        result = client.transcribe(file, config=config(enable_diarization=True, word_timestamps=True))
    assert set(result.speakers) == {"SPEAKER_00", "SPEAKER_01"} == {segment.speaker for segment in result.segments}
    assert result.segments[0].speaker == "SPEAKER_00"
    longest = max((segment for segment in result.segments), key=lambda segment: segment.end - segment.start)
    sample = wav("endgame_nagg_nell.wav", longest.start, longest.end)
    place = {"headers": {"Authorization": f"Bearer {KEY}"}, "trust_env": False, "timeout": 60}
    form = {"name": "Nagg", "project": "theatre"}
    answer = httpx2.post(
        f"{server.http_url}/v1/speakers/register", data=form, files={"file": ("a.wav", sample)}, **place
    )
    assert answer.status_code == 200, answer.text
    with closing(batch(server)) as client:
        file.seek(0)
        wanted = config(enable_speaker_identification=True, project="theatre")
        named = client.transcribe(file, config=wanted)
        file.seek(0)
        elsewhere = client.transcribe(file, config=config(enable_speaker_identification=True))
    assert set(named.speakers) == {"Nagg", *result.speakers} - {longest.speaker}
    assert [segment.speaker == "Nagg" for segment in named.segments] == [
        segment.speaker == longest.speaker for segment in result.segments
    ]
    assert set(elsewhere.speakers) == set(result.speakers)


async def test_a_recording_is_transcribed_asynchronously(server: Running) -> None:
    from shunyalabs import AsyncShunyaClient

    async with AsyncShunyaClient(api_key=KEY, asr_url=server.http_url) as client:
        file = io.BytesIO(wav("beckett.wav"))
        file.name = "beckett.wav"
        result = await client.asr.transcribe(file, config=config(enable_profanity_hashing=True, hash_keywords=["no"]))
    assert "** matter" in result.text.lower()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"language_code": "hi"}, "it speaks: en"),
        ({"output_script": "Devanagari"}, "text comes in the script of its language"),
        ({"enable_diarization": True, "project": "desk"}, "no effect without enable_speaker_identification"),
        ({"enable_emotion_diarization": True}, "emotions"),
        ({"enable_summarization": True}, "STREAM_SERVER_CHAT_URL"),
        ({"enable_sentiment_analysis": True}, "STREAM_SERVER_CHAT_URL"),
        ({"enable_intent_detection": True, "intent_choices": ["buy"]}, "STREAM_SERVER_CHAT_URL"),
        ({"enable_keyterm_normalization": True, "keyterm_keywords": ["Godot"]}, "STREAM_SERVER_CHAT_URL"),
        ({"output_language": "hi"}, "STREAM_SERVER_TRANSLATION_MODEL"),
        ({"intent_choices": ["buy"]}, "no effect without enable_intent_detection"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_said(server: Running, wanted: dict[str, Any], message: str) -> None:
    with closing(batch(server)) as client, pytest.raises(Exception, match=message) as caught:
        client.transcribe(io.BytesIO(wav("beckett.wav")), config=config(**wanted))
    assert type(caught.value).__name__ == "TranscriptionError"


def test_a_wrong_key_for_recordings(server: Running) -> None:
    with closing(batch(server, key="sk-wrong")) as client, pytest.raises(Exception, match="not valid") as caught:
        client.transcribe(io.BytesIO(wav("beckett.wav")), config=config())
    assert type(caught.value).__name__ == "AuthenticationError"


async def test_health_needs_no_key(http: httpx2.AsyncClient, server: Running) -> None:
    del http.headers["Authorization"]
    response = await http.get("/health")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ok", "services": {"engine": "ready", "jobs": "ready", "auth": "connected"}},
    )
    assert response.headers["X-Request-Id"]


async def test_health_of_a_server_that_ends() -> None:
    async with running_server(FakeRecognizer()) as server, httpx2.AsyncClient(base_url=server.http_url) as client:
        services = (await client.get("/health")).json()["services"]
        assert services == {"engine": "ready", "jobs": "off", "auth": "open"}
        await asyncio.to_thread(server.service.engine.stop)
        health = (await client.get("/health")).json()
    assert (health["status"], health["services"]["engine"]) == ("degraded", "stopped")


async def test_health_of_a_server_whose_jobs_nobody_does(tmp_path: Path) -> None:
    async with (
        running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere") as server,
        httpx2.AsyncClient(base_url=server.http_url) as client,
    ):
        health = (await client.get("/health")).json()
    assert (health["status"], health["services"]["jobs"]) == ("degraded", "no worker")


async def test_languages_with_their_scripts(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/languages")).json() == {
        "languages": [{"code": "en", "name": "English", "script": "Latin", "script_code": "Latn"}],
        "scripts": {"en": "Latin"},
    }
    del http.headers["Authorization"]
    refused = await http.get("/languages")
    assert (refused.status_code, set(refused.json())) == (401, {"detail", "request_id"})
