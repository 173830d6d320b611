"""Signals to a server in a process of its own, with the real model: what was heard is made final first."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import psutil

from stream_server.engine.moonshine.asset import find_recording
from stream_server.jobs.database import DATABASE_NAME
from tests.support.caller import Caller, call
from tests.support.process import ServerProcess
from tests.support.speech import cut_wav, pcm, recording

INIT = {"dtype": "int16"}
SPEECH = pcm(recording("beckett.wav")[: 3 * 16_000])
START = 60.0  # seconds, on a slow machine


@asynccontextmanager
async def child(folder: Path, **settings: str) -> AsyncIterator[tuple[Process, str]]:
    """A server that listens; gives its process and its WebSocket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SERVER_")}
    environment |= {f"STREAM_SERVER_{name.upper()}": value for name, value in settings.items()}
    command = (sys.executable, "-m", "stream_server", "serve", "--port", str(port), "--data-dir", str(folder))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)
    try:
        async with asyncio.timeout(START):
            while not await asyncio.to_thread(_answers, f"http://127.0.0.1:{port}/readyz"):
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield process, f"ws://127.0.0.1:{port}/ws"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


async def speaking(url: str) -> Caller:
    """A caller in the middle of a sentence, of which the server has said something already."""
    caller = await call(url, INIT)
    for start in range(0, len(SPEECH), 3200):
        await caller.send(SPEECH[start : start + 3200])
    await caller.until("partial")
    return caller


async def test_sigterm_ends_sessions_with_their_finals(tmp_path: Path) -> None:
    async with child(tmp_path, drain_timeout="0.3") as (process, url):
        caller = await speaking(url)
        process.send_signal(signal.SIGTERM)
        assert await caller.rest() == 1012
        async with asyncio.timeout(START):
            said = (await process.communicate())[1].decode()
    assert process.returncode == 0
    assert [event["code"] for event in caller.of("warning", "error")] == ["DRAINING", "SERVER_DRAINING"]
    assert caller.of("error")[0]["retry_after"] > 0
    assert "tried" in " ".join(final["text"].lower() for final in caller.finals)
    assert "anyone who can reach this server may use it" in said
    assert said.index("draining: 1 session, at most 0.3 s") < said.index("stopped")
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_said_in_the_last_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "stream_server", "serve", "--port", str(port), "--data-dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert "Traceback" not in done.stderr


async def test_a_session_may_end_by_itself_while_the_server_drains(tmp_path: Path) -> None:
    async with child(tmp_path, drain_timeout="60") as (process, url):
        caller = await speaking(url)
        process.send_signal(signal.SIGTERM)
        assert (await caller.until("warning"))["deadline_sec"] == 60
        await caller.send("END")
        assert await caller.rest() == 1000
        async with asyncio.timeout(START):
            await process.communicate()
    assert process.returncode == 0
    assert caller.events[-1]["type"] == "done"


async def test_who_can_go_on_elsewhere_is_let_go_when_nobody_speaks(tmp_path: Path) -> None:
    """And told what it need not send again; the others may stay until the deadline."""
    async with child(tmp_path, drain_timeout="100000", job_worker="off") as (process, url):
        caller = await call(url, INIT | {"acks": True})
        await caller.send(SPEECH, bytes(64_000))
        await caller.until("final_segment")
        process.send_signal(signal.SIGTERM)
        assert await caller.rest() == 1012
        async with asyncio.timeout(START):
            await process.communicate()
    assert process.returncode == 0
    assert [event["type"] for event in caller.events[-3:]] == ["warning", "ack", "error"]
    assert caller.events[-2]["received_samples"] == (len(SPEECH) + 64_000) // 2


async def test_who_speaks_on_is_let_go_between_two_words(tmp_path: Path) -> None:
    reading = pcm(recording("two_cities.wav"))
    async with child(tmp_path, drain_timeout="8", job_worker="off") as (process, url):
        caller = await call(url, INIT | {"acks": True, "silence_threshold_sec": 10})

        async def speak() -> None:
            for start in range(0, len(reading), 3200):
                await caller.send(reading[start : start + 3200])
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        await caller.until("partial")
        process.send_signal(signal.SIGTERM)
        assert await caller.rest() == 1012
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        async with asyncio.timeout(START):
            await process.communicate()
    assert process.returncode == 0
    (final,) = caller.finals
    assert 100 <= final["silence_duration_ms"] < 10_000, "it ended in a pause, though not in one that ends a segment"


async def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    async with child(tmp_path, drain_timeout="100000") as (process, url):
        caller = await speaking(url)
        process.send_signal(signal.SIGTERM)
        await caller.until("warning")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START):
            said = (await process.communicate())[1].decode()
    assert process.returncode is not None
    assert "Traceback" not in said


def test_a_second_sigterm_waits_for_no_worker_that_hangs(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    while not (children := server.children()):
        time.sleep(0.05)
    worker = psutil.Process(children[0])
    worker.suspend()
    try:
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.2)
        assert server.stop() == 1, "not 0, as when the worker has been waited for"
    finally:
        worker.kill()


def test_a_job_in_hand_is_handed_back(tmp_path: Path) -> None:
    """The worker says goodbye, so that the next one need not wait until it is missed."""
    server = ServerProcess(tmp_path)
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=START) as client:
        audio = cut_wav(find_recording("two_cities.wav"), 40.0, times=6)
        job = client.post("/v1/transcriptions", files={"file": ("speech.wav", audio)}).json()["id"]

        def wait_for(*states: str) -> dict[str, Any]:
            deadline = time.monotonic() + 2 * START
            while (status := client.get(f"/v1/transcriptions/{job}").json())["status"] not in states:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            return dict(status)

        wait_for("processing")
        assert server.stop() == 0
        with closing(sqlite3.connect(tmp_path / "data" / DATABASE_NAME)) as database:
            assert database.execute("SELECT count(*) FROM processes").fetchone() == (0,)
        try:
            server.restart()
            done = wait_for("completed", "failed")
        finally:
            server.stop()
    assert done["status"] == "completed"
    assert done["text"].lower().count("best of times") == 6
