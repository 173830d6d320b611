"""audiotext's jobs: made, asked about, read, cancelled; each caller sees its own."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import soundfile

from tests.protocol.sound import synthesize
from tests.support.fake import FakeRecognizer
from tests.support.receiver import running_receiver
from tests.support.running import running_server

PATH = "/v1/transcription-jobs"
KEY, OTHER = "sk-right", "sk-other"
PATIENCE = 60.0
FORM = {"model": "cpu-lite"}
WORDS = {"word_timestamps": "true"}


def wav(*kinds: str) -> bytes:
    """A second of each kind of sound."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.concatenate([synthesize(kind, 16_000, 16_000) for kind in kinds]), 16_000, format="WAV")
    return buffer.getvalue()


VOICE = {"file": ("voice.wav", wav("silence", "speech", "silence"))}


@asynccontextmanager
async def serving(
    folder: Path, recognizer: FakeRecognizer | None = None, **settings: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    settings |= {"data_dir": folder, "job_worker": "inline", "api_keys": (KEY, OTHER)}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        running_server(recognizer or FakeRecognizer(), **settings) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False, headers=headers) as client,
    ):
        yield client


async def finished(client: httpx2.AsyncClient, job: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        described: dict[str, Any] = {"status": "queued"}
        while described["status"] in ("queued", "processing"):
            described = (await client.get(f"{PATH}/{job}")).json()
            await asyncio.sleep(0.02)
    return described


async def test_a_job_from_its_making_to_its_result(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        made = await client.post(PATH, data=FORM | {"language": "en"}, files=VOICE)
        job = made.json()
        done = await finished(client, job["id"])
        result = await client.get(f"{PATH}/{job['id']}/result")
    assert made.status_code == 202
    assert made.headers["Location"] == job["url"] == f"{PATH}/{job['id']}"
    assert (job["object"], job["status"], job["result"], job["error"]) == ("transcription.job", "queued", None, None)
    assert job["progress"] == {"percent": 0, "message": "Waiting"}
    assert (job["model"], job["language"], job["response_format"]) == ("fake", "en", "verbose_json")
    assert job["request_id"] == made.headers["X-Request-Id"]
    assert (done["status"], done["progress"]) == ("completed", {"percent": 100, "message": "Completed"})
    times = [datetime.fromisoformat(done[f"{event}_at"]) for event in ("created", "started", "completed")]
    assert times == sorted(times)
    assert done["result"] == result.json()
    assert result.json()["text"].startswith("alpha bravo")
    assert result.json()["request_id"] == job["request_id"]


async def test_a_result_in_the_format_of_its_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        results = {}
        for wanted, words in (("json", {}), ("text", {}), ("srt", {}), ("vtt", {}), ("verbose_json", WORDS)):
            form = FORM | words | {"response_format": wanted}
            job = (await client.post(PATH, data=form, files=VOICE)).json()
            done = await finished(client, job["id"])
            assert done["response_format"] == wanted
            results[wanted] = await client.get(f"{PATH}/{job['id']}/result")
            is_json = wanted in ("json", "verbose_json")
            assert done["result"] == (results[wanted].json() if is_json else results[wanted].text)
    text = results["json"].json()["text"]
    assert set(results["json"].json()) == {"text", "usage"}
    assert results["text"].text == text + "\n"
    assert results["text"].headers["Content-Type"].startswith("text/plain")
    assert results["srt"].text.startswith("1\n00:00:0")
    assert results["vtt"].text.startswith("WEBVTT\n")
    assert results["vtt"].headers["Content-Type"].startswith("text/vtt")
    assert [word["word"] for word in results["verbose_json"].json()["words"]] == text.split()


async def test_a_job_is_cancelled_once(tmp_path: Path) -> None:
    """While it is queued and while it is worked on."""
    recognizer = FakeRecognizer(gate=threading.Event())
    assert recognizer.gate is not None
    async with serving(tmp_path, recognizer, max_jobs=1) as client:
        jobs = [(await client.post(PATH, data=FORM, files=VOICE)).json() for _ in range(2)]
        async with asyncio.timeout(PATIENCE):
            while (await client.get(jobs[0]["url"])).json()["status"] == "queued":
                await asyncio.sleep(0.02)
        for job in jobs:
            early = await client.get(f"{job['url']}/result")
            assert (early.status_code, early.json()["error"]["code"]) == (409, "CONFLICT")
            cancelled = await client.post(f"{job['url']}/cancel")
            assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
            assert cancelled.json()["completed_at"]
            again = await client.post(f"{job['url']}/cancel")
            assert (again.status_code, again.json()["error"]["code"]) == (409, "CONFLICT")
            result = await client.get(f"{job['url']}/result")
            assert (result.status_code, result.json()["error"]["code"]) == (409, "CANCELLED")
        recognizer.gate.set()
        done = await finished(client, (await client.post(PATH, data=FORM, files=VOICE)).json()["id"])
        assert done["status"] == "completed", "the worker goes on"
        finished_job = await client.post(f"{PATH}/{done['id']}/cancel")
        assert (finished_job.status_code, finished_job.json()["error"]["code"]) == (409, "CONFLICT")


async def test_nobody_sees_the_jobs_of_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        job = (await client.post(PATH, data=FORM, files=VOICE)).json()
        await finished(client, job["id"])
        for path in (job["url"], f"{PATH}/nothing", f"{PATH}/' OR 1=1 --", f"{PATH}/..%2f..%2fsecret"):
            key = {"Authorization": f"Bearer {OTHER}"}
            for answer in (
                await client.get(path, headers=key),
                await client.get(f"{path}/result", headers=key),
                await client.post(f"{path}/cancel", headers=key),
            ):
                assert answer.status_code == 404
        assert (await client.get(job["url"])).json()["status"] == "completed"


async def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    with running_receiver() as web:
        async with serving(tmp_path, allowed_hosts=("127.0.0.0/8",)) as client:
            job = (await client.post(PATH, data=FORM | {"url": f"{web.url}/nothing.wav"})).json()
            failed = await finished(client, job["id"])
            result = await client.get(f"{job['url']}/result")
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert failed["error"]["code"] == "URL_FAILED"
    assert "404" in failed["error"]["message"]
    assert (result.status_code, result.json()["detail"]) == (422, failed["error"]["message"])


async def test_a_batch_is_as_far_as_its_files(tmp_path: Path) -> None:
    recognizer = FakeRecognizer(gate=threading.Event())
    assert recognizer.gate is not None
    async with serving(tmp_path, recognizer, max_jobs=1) as client:
        files = [("files", VOICE["file"]), ("files", ("picture.wav", b"GIF89a"))]
        batch = (await client.post("/v1/transcriptions/batch", files=files)).json()["id"]
        begun = (await client.get(f"{PATH}/{batch}")).json()
        assert begun["progress"]["message"] == "1 of 2 files finished"
        assert 50 <= begun["progress"]["percent"] < 100
        recognizer.gate.set()
        done = await finished(client, batch)
        result = await client.get(f"{PATH}/{batch}/result")
    assert (done["status"], done["result"], done["error"]) == ("completed", None, None)
    assert done["progress"] == {"percent": 100, "message": "2 of 2 files finished"}
    assert (result.status_code, result.json()["error"]["code"]) == (409, "CONFLICT")


async def test_what_makes_no_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        refused = [
            await client.post(PATH, data=FORM | {"stream": "true"}, files=VOICE),
            await client.post(PATH, data=FORM),
            await client.post(PATH, files=VOICE),
            await client.post(PATH, data=FORM | {"language": "ca"}, files=VOICE),
            await client.post(PATH, data=FORM | {"callback_url": "http://127.0.0.1:1/hook"}, files=VOICE),
            await client.post(PATH, data=FORM | {"callback_url": "not an address"}, files=VOICE),
        ]
        assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refused] == [
            (400, "INVALID_PARAMETER"),
            (400, "MISSING_PARAMETER"),
            (400, "MISSING_PARAMETER"),
            (400, "INVALID_PARAMETER"),
            (400, "URL_REFUSED"),
            (400, "URL_REFUSED"),
        ]
        assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


async def test_a_callback_and_what_the_job_says_of_it(tmp_path: Path) -> None:
    with running_receiver() as web:
        async with serving(tmp_path, allowed_hosts=("127.0.0.0/8",)) as client:
            form = FORM | {"callback_url": f"{web.url}/hook"}
            job = (await client.post(PATH, data=form, files=VOICE)).json()
            waiting = {"url": f"{web.url}/hook", "status": "waiting", "attempts": 0}
            assert job["callback"] == waiting | {"last_status": None, "last_error": None}
            await asyncio.to_thread(web.wait_for, lambda callbacks: len(callbacks) == 1)
            async with asyncio.timeout(PATIENCE):
                told = job["callback"]
                while told["status"] != "delivered":
                    told = (await client.get(job["url"])).json()["callback"]
    assert (told["attempts"], told["last_status"], told["last_error"]) == (1, 200, None)
    (callback,) = web.callbacks
    assert (callback.path, callback.values["job_id"]) == ("/hook", job["id"])


async def test_a_job_of_another_dialect(tmp_path: Path) -> None:
    """Its own way of rendering means nothing here."""
    async with serving(tmp_path) as client:
        made = await client.post("/asr2", params={"outfmt": "maxqda"}, content=VOICE["file"][1])
        job = await finished(client, made.json()["job_id"])
    assert (job["status"], job["response_format"]) == ("completed", "verbose_json")
    assert job["result"]["text"].startswith("alpha bravo")
