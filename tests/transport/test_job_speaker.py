"""Speakers of one job in every dialect's answer: who made it, and who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from stream_server.speakers.turn import Turn
from tests.support.fake import FakeRecognizer
from tests.support.receiver import running_receiver
from tests.support.running import running_server
from tests.support.speakers import FakeSpeakers, ScriptedDiarizer
from tests.transport.test_transcription import VOICE

FILE = {"file": ("voice.wav", VOICE)}
TURNS = (Turn(0, 1500, "SPEAKER_00"), Turn(1500, 3000, "SPEAKER_01"))
BOTH = ["SPEAKER_00", "SPEAKER_01"]


@pytest.fixture
def diarizer() -> ScriptedDiarizer:
    return ScriptedDiarizer(TURNS)


@pytest.fixture
async def client(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, diarizer: ScriptedDiarizer
) -> AsyncIterator[httpx2.AsyncClient]:
    """Of a server to which every recording has the same turns."""
    speakers = FakeSpeakers(diarizer)
    monkeypatch.setattr("stream_server.app.load_speakers", lambda *_, **__: speakers)
    settings: dict[str, Any] = {"data_dir": tmp_path, "job_worker": "inline", "allowed_hosts": ("127.0.0.0/8",)}
    async with (
        running_server(FakeRecognizer(), **settings) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False, timeout=60) as client,
    ):
        yield client


async def finished(client: httpx2.AsyncClient, address: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (job := (await client.get(address)).json())["status"] in ("queued", "processing"):
            await asyncio.sleep(0.02)
    found: dict[str, Any] = job
    return found


async def test_made_by_one_and_read_by_all(client: httpx2.AsyncClient, diarizer: ScriptedDiarizer) -> None:
    form = {"model": "whisper-1", "enable_diarization": "true", "num_speakers": "2", "word_timestamps": "true"}
    job = (await client.post("/v1/transcription-jobs", data=form, files=FILE)).json()["id"]
    done = await finished(client, f"/v1/transcription-jobs/{job}")
    assert diarizer.opened == [2]
    result = done["result"]
    assert result["speakers"] == [segment["speaker"] for segment in result["segments"]] == BOTH
    for segment in result["segments"]:
        assert {word["speaker"] for word in segment["words"]} == {segment["speaker"]}
    assert [word["speaker"] for word in result["words"]] == sorted(word["speaker"] for word in result["words"])
    lesan = (await client.get(f"/v1/transcriptions/{job}")).json()
    assert lesan["speakers"] == [segment["speaker"] for segment in lesan["segments"]] == BOTH
    assert [segment["text"] for segment in lesan["segments"]] == [segment["text"] for segment in result["segments"]]
    (listed,) = (await client.get("/v1/transcriptions")).json()["data"]
    assert listed["speakers"] == BOTH


async def test_a_job_in_openai_s_format(client: httpx2.AsyncClient) -> None:
    form = {"model": "whisper-1", "response_format": "diarized_json"}
    job = (await client.post("/v1/transcription-jobs", data=form, files=FILE)).json()["id"]
    done = await finished(client, f"/v1/transcription-jobs/{job}")
    assert done["response_format"] == "diarized_json"
    assert [segment["speaker"] for segment in done["result"]["segments"]] == ["A", "B"]
    assert (await client.get(f"/v1/transcription-jobs/{job}/result")).json() == done["result"]


async def test_lesan_s_jobs_and_batches(client: httpx2.AsyncClient, diarizer: ScriptedDiarizer) -> None:
    form = {"diarize": "true", "num_speakers": "2"}
    job = (await client.post("/v1/transcriptions", data=form, files=FILE)).json()["id"]
    assert (await finished(client, f"/v1/transcriptions/{job}"))["speakers"] == BOTH
    files = [("files", ("one.wav", VOICE)), ("files", ("two.wav", VOICE))]
    batch = (await client.post("/v1/transcriptions/batch", data={"diarize": "true"}, files=files)).json()["id"]
    of_batch = (await finished(client, f"/v1/transcriptions/{batch}"))["metadata"]["jobs"]
    for child in of_batch:
        assert (await client.get(f"/v1/transcriptions/{child['job_id']}")).json()["speakers"] == BOTH
    assert diarizer.opened == [2, None, None]
    refused = await client.post("/v1/transcriptions", data={"num_speakers": "2"}, files=FILE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_PARAMETER")


async def test_lightning_s_turns_in_the_answer_and_in_the_callback(client: httpx2.AsyncClient) -> None:
    form = {"diarize": "true", "num_speakers": "2"}
    answer = (await client.post("/v1/listen", data=form, files={"audio": VOICE})).json()
    assert [turn["speaker"] for turn in answer["speakers"]] == BOTH
    assert " ".join(turn["text"] for turn in answer["speakers"]) == answer["text"]
    assert answer["speakers"][0]["end"] <= answer["speakers"][1]["start"]
    with running_receiver() as web:
        form["callback_url"] = f"{web.url}/done"
        await client.post("/v1/listen", data=form, files={"audio": VOICE})
        await asyncio.to_thread(web.wait_for, bool)
        told: Any = web.callbacks[0].values
    assert told["result"]["speakers"] == answer["speakers"]


@pytest.mark.parametrize("outfmt", ["colored_text", "text", "maxqda", "json", "textgrid", "textgrid_aligned"])
async def test_luxasr_tells_speakers_apart_by_default(client: httpx2.AsyncClient, outfmt: str) -> None:
    job = (await client.post("/asr2", params={"outfmt": outfmt}, content=VOICE)).json()["job_id"]
    assert (await finished(client, f"/v3/asr/jobs/{job}"))["status"] == "completed"
    text = (await client.get(f"/v3/asr/jobs/{job}/result")).text
    assert all(speaker in text for speaker in BOTH)


async def test_luxasr_s_subtitles_have_speakers_only_if_they_are_asked_for(client: httpx2.AsyncClient) -> None:
    texts = []
    for query in ({}, {"diarization": "Enabled"}):
        job = (await client.post("/asr2", params={"outfmt": "srt", **query}, content=VOICE)).json()["job_id"]
        await finished(client, f"/v3/asr/jobs/{job}")
        texts.append((await client.get(f"/v3/asr/jobs/{job}/result")).text)
    assert ["SPEAKER" in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ({"enable_diarization": "true"}, BOTH),
        ({"enable_diarization": "true", "response_format": "verbose_json"}, BOTH),
        ({"response_format": "diarized_json"}, ["A", "B"]),
    ],
)
async def test_events_have_the_speakers(client: httpx2.AsyncClient, form: dict[str, str], names: list[str]) -> None:
    form = {"model": "whisper-1", "stream": "true", **form}
    answer = await client.post("/v1/audio/transcriptions", data=form, files=FILE)
    events = [orjson.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    segments = [event for event in events if event["type"] == "transcript.text.segment"]
    assert [event["speaker"] for event in segments] == names
    assert "".join(event.get("delta", "") for event in events) == events[-1]["text"]
    assert " ".join(event["text"] for event in segments) == events[-1]["text"]


async def test_a_diarizer_that_fails(
    client: httpx2.AsyncClient, diarizer: ScriptedDiarizer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    diarizer.fails = "finish"
    form = {"model": "whisper-1", "enable_diarization": "true"}
    answer = await client.post("/v1/audio/transcriptions", data=form, files=FILE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL")
    assert "speakers" in answer.json()["detail"]
