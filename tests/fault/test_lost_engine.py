"""A server whose engine hangs, is killed or returns nonsense, as its callers see it."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from stream_server.engine.recognizer import Task
from stream_server.engine.work import Hypothesis
from tests.protocol.sound import synthesize
from tests.support.caller import Caller, call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.garbage import Garbled
from tests.support.process import free_port
from tests.support.running import running_server
from tests.support.speech import pcm
from tests.support.thread import kill_thread

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
START_SEC = 60.0
EXIT_SEC = 60.0


class Hanging(FakeRecognizer):
    """Hangs, once it is told to, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.let_go = threading.Event()

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        if self.hangs:
            self.let_go.wait()
        return super().step(tasks)


async def told_to_go(caller: Caller) -> dict[str, object]:
    assert await caller.rest() == 1012
    assert caller.events[-1]["code"] == "SERVER_DRAINING"
    assert caller.events[-1]["retry_after"] > 0
    return caller.events[-1]


async def status(url: str) -> tuple[int, str]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/readyz")
        assert (await client.get(f"{url}/healthz")).status_code == 200, "the process itself is alive"
    return answer.status_code, answer.json()["status"]


async def test_a_step_that_hangs_ends_every_session_and_the_server_stops_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recognizer = Hanging()
    try:
        async with running_server(recognizer, step_timeout=0.5) as server:
            speaking, silent = await call(server.ws_url, INT16), await call(server.ws_url, INT16)
            ready = await speaking.until("ready")
            await silent.until("ready")
            recognizer.hangs = True
            await speaking.send(VOICE)
            await told_to_go(speaking)
            await told_to_go(silent)
            with pytest.raises(InvalidStatus) as refused:
                await call(server.ws_url)
            assert refused.value.response.status_code == 503
            assert "Retry-After" in refused.value.response.headers
            assert await status(server.http_url) == (503, "engine failed: a step has not ended within 0.5 s")
            assert server.service.engine.statistics.hung == 1
        lost = next(record for record in caplog.records if record.levelno == logging.CRITICAL)
        assert lost.__dict__["step_of"] == [ready["session_id"]]
    finally:
        recognizer.let_go.set()


async def test_a_killed_engine_thread_ends_every_session(caplog: pytest.LogCaptureFixture) -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INT16)
        await caller.until("ready")
        kill_thread(server.service.engine._thread, SystemExit)
        await caller.send(VOICE)
        await told_to_go(caller)
        assert await status(server.http_url) == (503, "engine failed: SystemExit: ")


async def test_nonsense_for_one_session_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def long_ones(hypothesis: Hypothesis) -> Hypothesis:
        return replace(hypothesis, confidence=nan) if len(hypothesis.text.split()) > 6 else hypothesis

    async with running_server(Garbled(long_ones, FakeRecognizer(), segment=0)) as server:
        talker = await call(server.ws_url, INT16)
        session_id = (await talker.until("ready"))["session_id"]
        await talker.send(pcm(synthesize("speech", 4 * 16_000, 16_000)))
        assert await talker.rest() == 1011
        assert talker.events[-1]["code"] == "INTERNAL_ERROR"
        assert (await transcribe(server.ws_url, VOICE, INT16)).finals
        assert (await status(server.http_url))[0] == 200
        assert server.service.engine.statistics.garbage == 1
    record = next(record for record in caplog.records if "the recognizer failed" in record.message)
    assert record.__dict__["session_id"] == session_id
    assert "confidence of nan" in record.message


async def test_a_process_whose_model_hangs_ends_by_itself_and_says_that_it_failed(tmp_path: Path) -> None:
    """With nothing to probe it: that it is gone is what every service manager understands."""
    port = free_port()
    with (tmp_path / "log").open("wb") as output:
        command = [sys.executable, "-m", "tests.fault.hanging_server", str(port), "1"]
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: ASYNC220 - it starts at once
    try:
        async with asyncio.timeout(START_SEC):
            while True:
                assert process.poll() is None, (tmp_path / "log").read_text()
                try:
                    if await status(f"http://127.0.0.1:{port}") == (200, "ready"):
                        break
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
        speaking = await call(f"ws://127.0.0.1:{port}/ws", INT16)
        others = [await call(f"ws://127.0.0.1:{port}/ws", INT16) for _ in range(20)]
        for other in others:
            await other.until("ready")
        gone = await call(f"ws://127.0.0.1:{port}/ws", INT16)  # its session waits for it to come back
        await gone.until("ready")
        gone.socket.transport.abort()
        await speaking.send(VOICE)
        for caller in (speaking, *others):
            await told_to_go(caller)
        assert await asyncio.to_thread(process.wait, EXIT_SEC) == 1
    finally:
        process.kill()
        process.wait()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    failed, ending = (record for record in records if record["level"] == "critical")
    assert failed["step_of"] == [speaking.events[0]["session_id"]]
    assert "step (hanging_server.py:" in failed["place"]
    assert ending["event"].startswith("the server ends, with status 1")
    assert records[-1]["event"] == "stopped", "it closed what was open before it went"
