"""``/v1/audio/transcriptions`` with plain requests: addresses, callers who leave, limits, what is left behind."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
import soundfile
import sqlalchemy as sa

from stream_server.engine.recognizer import Task
from stream_server.engine.work import Hypothesis
from stream_server.jobs.table import jobs
from tests.protocol.sound import synthesize
from tests.support.fake import FakeRecognizer
from tests.support.receiver import running_receiver
from tests.support.running import Running, running_server
from tests.text.chatting import KEY as CHAT_KEY
from tests.text.chatting import Reply
from tests.text.chatting import serving as serving_chat

PATH = "/v1/audio/transcriptions"
PATIENCE = 60.0


def wav(*kinds: str) -> bytes:
    """A second of each kind of sound."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.concatenate([synthesize(kind, 16_000, 16_000) for kind in kinds]), 16_000, format="WAV")
    return buffer.getvalue()


VOICE = wav("silence", "speech", "silence")
FORM = {"model": "whisper-1"}


@asynccontextmanager
async def serving(
    folder: Path, recognizer: FakeRecognizer | None = None, **settings: Any
) -> AsyncIterator[tuple[Running, httpx2.AsyncClient]]:
    settings |= {"data_dir": folder, "job_worker": "inline"}
    async with (
        running_server(recognizer or FakeRecognizer(), **settings) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False, timeout=PATIENCE) as client,
    ):
        yield server, client


def jobs_and_files(folder: Path) -> tuple[int, list[Path]]:
    """How many jobs there are, and the audio in the object store."""
    database = sa.create_engine(f"sqlite:///{folder / 'stream-server.db'}")
    with database.connect() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(jobs)) or 0
    database.dispose()
    return count, [path for path in (folder / "objects").rglob("*") if path.is_file()]


async def nothing_is_left(folder: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        left = True
        while left:
            count, files = jobs_and_files(folder)
            left = count > 0 or bool(files)
            await asyncio.sleep(0.01)


class HeldRecognizer(FakeRecognizer):
    """Says when it is at work, and then waits until ``gate`` is opened."""

    def __init__(self, free_steps: int = 0) -> None:
        super().__init__(gate=threading.Event())
        self.at_work = threading.Event()
        self._free = free_steps

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        assert self.gate is not None
        self._free -= 1
        if self._free < 0:
            self.at_work.set()
            assert self.gate.wait(PATIENCE)
        gate, self.gate = self.gate, None
        try:
            return super().step(tasks)
        finally:
            self.gate = gate


async def events_of(response: httpx2.Response) -> list[Any]:
    return [orjson.loads(line.removeprefix("data: ")) async for line in response.aiter_lines() if line[:6] == "data: "]


async def test_the_full_answer_has_the_fields_of_all_three(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        response = await client.post(PATH, data=FORM, files={"file": ("voice.wav", VOICE)})
        await nothing_is_left(tmp_path)
    assert response.status_code == 200
    full = response.json()
    assert set(full) == {
        "task", "language", "duration", "text", "segments", "usage",  # OpenAI
        "success", "request_id", "detected_language", "speakers", "audio_duration", "inference_time_ms",  # Shunyalabs
        "languages",
    }  # fmt: skip
    assert full["success"] is True
    assert full["request_id"] == response.headers["X-Request-Id"]
    assert (full["detected_language"], full["languages"]) == ("English", [{"code": "en"}])
    assert full["audio_duration"] == full["duration"] == 3.0
    assert full["speakers"] == []
    (segment,) = full["segments"]
    assert segment["text"] == full["text"]
    assert "words" not in segment
    assert full["text"].startswith("alpha bravo")
    assert 0.5 < segment["start"] < segment["end"] < 2.5


async def test_silence_has_no_text(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        response = await client.post(PATH, data=FORM, files={"file": ("voice.wav", wav("silence", "silence"))})
        streamed = await client.post(PATH, data=FORM | {"stream": "true"}, files={"file": wav("silence", "silence")})
    assert (response.status_code, response.json()["text"], response.json()["segments"]) == (200, "", [])
    assert await events_of(streamed) == [{"type": "transcript.text.done", "text": ""}]


async def test_an_address_in_place_of_a_file(tmp_path: Path) -> None:
    with running_receiver() as web:
        web.files["/voice.wav"] = VOICE
        async with serving(tmp_path, allowed_hosts=("127.0.0.0/8",)) as (_, client):
            address = {"url": f"{web.url}/voice.wav"}
            by_form = await client.post(PATH, data=FORM | address)
            by_json = await client.post(PATH, json=FORM | address)
            missing = await client.post(PATH, data=FORM | {"url": f"{web.url}/nothing.wav"})
            # What goes wrong before the first segment has a status, although the caller wanted events.
            streamed = await client.post(PATH, data=FORM | {"url": f"{web.url}/nothing.wav", "stream": "true"})
            both = await client.post(PATH, data=FORM | address, files={"file": VOICE})
            neither = await client.post(PATH, data=FORM)
            await nothing_is_left(tmp_path)
    assert by_form.json()["text"] == by_json.json()["text"]
    assert by_form.json()["text"].startswith("alpha bravo")
    for failed in (missing, streamed):
        assert (failed.status_code, failed.json()["error"]["code"]) == (422, "URL_FAILED")
    assert (both.status_code, both.json()["error"]["param"]) == (400, "url")
    assert (neither.status_code, neither.json()["error"]["code"]) == (400, "MISSING_PARAMETER")


async def test_a_private_address_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        for url in ("http://127.0.0.1:1/voice.wav", "http://169.254.169.254/latest", "file:///etc/passwd"):
            refused = await client.post(PATH, data=FORM | {"url": url})
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "URL_REFUSED")
        await nothing_is_left(tmp_path)


async def test_masked_words_and_a_translation_that_needs_no_model(tmp_path: Path) -> None:
    form = FORM | {
        "enable_profanity_hashing": "true",
        "hash_keywords": '["bravo"]',
        "output_language": "en",
        "word_timestamps": "true",
    }
    async with serving(tmp_path) as (_, client):
        response = await client.post(PATH, data=form, files={"file": VOICE})
        events = await client.post(
            PATH, data=form | {"stream": "true", "response_format": "verbose_json"}, files={"file": VOICE}
        )
    full = response.json()
    assert "bravo" not in full["text"]
    assert full["text"].startswith("alpha *")
    assert full["words"] == full["segments"][0]["words"]
    assert " ".join(word["word"] for word in full["words"]) == full["text"]
    assert full["nlp_analysis"] == {"translation": full["text"]}
    delta, segment, done = await events_of(events)
    assert delta["delta"] == segment["text"] == done["text"] == full["text"]
    assert done["nlp_analysis"] == full["nlp_analysis"]


async def test_what_a_language_model_says_about_the_text(tmp_path: Path) -> None:
    said = {
        "summary": "They count.",
        "sentiment": {"label": "neutral", "score": 0.1, "explanation": "Nothing is felt."},
        "intent": {"label": "count", "confidence": 0.9, "reasoning": "They count."},
        "normalized_text": "Alpha, Bravo.",
    }

    def answer(request: dict[str, Any]) -> Reply:
        wanted = request["response_format"]["json_schema"]["schema"]["properties"]
        return Reply({name: said[name] for name in wanted})

    form = FORM | {
        "enable_summarization": "true",
        "summary_max_length": "5",
        "enable_sentiment_analysis": "true",
        "enable_intent_detection": "true",
        "intent_choices": '["count", "sing"]',
        "enable_keyterm_normalization": "true",
        "keyterm_keywords": '["Alpha"]',
    }
    with serving_chat(answer) as chat:
        settings = {"chat_url": chat.url, "chat_model": "model-1", "chat_api_key": CHAT_KEY}
        async with serving(tmp_path, **settings) as (_, client):
            response = await client.post(PATH, data=form, files={"file": VOICE})
    assert response.json()["nlp_analysis"] == said


async def test_what_is_not_configured_names_its_setting(tmp_path: Path) -> None:
    lacks = {
        "enable_summarization": ("true", "STREAM_SERVER_CHAT_URL"),
        "enable_sentiment_analysis": ("true", "STREAM_SERVER_CHAT_URL"),
        "enable_intent_detection": ("true", "STREAM_SERVER_CHAT_URL"),
        "enable_keyterm_normalization": ("true", "STREAM_SERVER_CHAT_URL"),
        "output_language": ("lb", "STREAM_SERVER_TRANSLATION_MODEL"),
        "enable_diarization": ("true", "diarizer=off"),
        "enable_speaker_identification": ("true", "diarizer=off"),
        "response_format": ("diarized_json", "diarizer=off"),
    }
    async with serving(tmp_path, diarizer="off") as (_, client):
        for name, (value, says) in lacks.items():
            refused = await client.post(PATH, data=FORM | {name: value}, files={"file": VOICE})
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "FEATURE_UNAVAILABLE"), name
            assert (says in refused.json()["detail"], refused.json()["error"]["param"]) == (True, name)
        await nothing_is_left(tmp_path)


async def test_voices_that_cannot_be_recognized(tmp_path: Path) -> None:
    lacks: tuple[tuple[str, dict[str, str]], ...] = (
        ("enable_speaker_identification", {"enable_speaker_identification": "true"}),
        ("known_speaker_names", {"known_speaker_names[]": "Priya", "known_speaker_references[]": "data:,"}),
    )
    async with serving(tmp_path, speaker_embedding="off") as (_, client):
        for name, values in lacks:
            refused = await client.post(PATH, data=FORM | values, files={"file": VOICE})
            assert (refused.status_code, refused.json()["error"]["param"]) == (422, name)
            assert "speaker_embedding=off" in refused.json()["detail"]
        await nothing_is_left(tmp_path)


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_a_caller_who_hangs_up_leaves_nothing_behind(tmp_path: Path, stream: str) -> None:
    """While the model is at work: the job is gone at once, and its worker is free for the next."""
    recognizer = HeldRecognizer()
    async with serving(tmp_path, recognizer, max_jobs=1) as (_, client):
        asking = asyncio.create_task(client.post(PATH, data=FORM | {"stream": stream}, files={"file": VOICE}))
        assert await asyncio.to_thread(recognizer.at_work.wait, PATIENCE)
        assert jobs_and_files(tmp_path)[0] == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await nothing_is_left(tmp_path)
        recognizer.gate.set()
        again = await client.post(PATH, data=FORM, files={"file": VOICE})
        assert again.json()["text"].startswith("alpha bravo")


async def test_a_reader_who_leaves_in_the_middle(tmp_path: Path) -> None:
    recognizer = HeldRecognizer(free_steps=1)
    long = wav("speech", "silence", "silence", "speech", "silence", "silence", "speech")
    async with serving(tmp_path, recognizer) as (_, client):
        form = FORM | {"stream": "true"}
        async with client.stream("POST", PATH, data=form, files={"file": long}) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            line = await anext(response.aiter_lines())
            assert orjson.loads(line.removeprefix("data: "))["type"] == "transcript.text.delta"
            assert await asyncio.to_thread(recognizer.at_work.wait, PATIENCE)
        await nothing_is_left(tmp_path)
        recognizer.gate.set()


async def test_a_failure_in_the_middle_is_an_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(FakeRecognizer):
        """Hears one segment, and then nothing more."""

        def step(self, tasks: Any) -> Any:
            heard = super().step(tasks)
            self.fails = True
            return heard

    caplog.set_level("CRITICAL")
    long = wav("speech", "silence", "silence", "silence", "silence", "speech", "silence")
    async with serving(tmp_path, Failing(roomy=1)) as (_, client):
        response = await client.post(PATH, data=FORM | {"stream": "true"}, files={"file": long})
        await nothing_is_left(tmp_path)
    assert response.status_code == 200
    first, error = await events_of(response)
    assert first["type"] == "transcript.text.delta"
    assert error["error"]["code"] == "INTERNAL"
    assert error["request_id"] == response.headers["X-Request-Id"]
    assert "event: error\n" in response.text


async def test_what_takes_too_long_is_given_up(tmp_path: Path) -> None:
    recognizer = HeldRecognizer()
    async with serving(tmp_path, recognizer, sync_timeout=0.2) as (_, client):
        response = await client.post(PATH, data=FORM, files={"file": VOICE})
        recognizer.gate.set()
        await nothing_is_left(tmp_path)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "TIMEOUT")
    assert response.json()["error"]["type"] == "server_error"


async def test_limits_are_told_in_headers(tmp_path: Path) -> None:
    async with serving(tmp_path, api_keys=("sk-right",), requests_per_minute=1) as (_, client):
        client.headers["Authorization"] = "Token sk-right"
        first = await client.post(PATH, data=FORM, files={"file": VOICE})
        second = await client.post(PATH, data=FORM, files={"file": VOICE})
    assert (first.status_code, first.headers["X-RateLimit-Remaining"]) == (200, "0")
    assert (second.status_code, second.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(second.headers["Retry-After"]) >= 1


async def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    async with serving(tmp_path, max_upload_bytes=20_000) as (_, client):
        response = await client.post(PATH, data=FORM, files={"file": VOICE})
        await nothing_is_left(tmp_path)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "FILE_TOO_LARGE")


async def test_a_server_without_jobs_says_so() -> None:
    async with (
        running_server(FakeRecognizer()) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client,
    ):
        response = await client.post(PATH, data=FORM, files={"file": VOICE})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "FEATURE_UNAVAILABLE")
