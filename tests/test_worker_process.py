"""The worker that a server has beside it: started again when it ends, gone when the server is."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx2
import psutil

from stream_server.engine.moonshine.asset import find_recording
from tests.support.process import ServerProcess
from tests.support.speech import cut_wav

PATIENCE = 60.0


def worker_of(server: ServerProcess, other_than: int = 0) -> int:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in server.children():
            if child != other_than:
                return child
        time.sleep(0.05)
    raise AssertionError(server.log.read_text())


def transcribe(server: ServerProcess) -> str:
    audio = cut_wav(find_recording("beckett.wav"), 3.0)
    form = {"model": "whisper-1", "response_format": "text"}
    answer = httpx2.post(
        f"{server.url}/v1/audio/transcriptions",
        data=form,
        files={"file": ("speech.wav", audio)},
        timeout=PATIENCE,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return answer.text


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_worker_gives_way_comes_back_and_goes_with_the_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    try:
        worker = worker_of(server)
        assert transcribe(server).startswith("Ever tried")
        threads = [os.sched_getscheduler(thread.id) for thread in psutil.Process(worker).threads()]
        assert os.SCHED_IDLE in threads, "the model's threads take only what nobody wants"
        assert os.SCHED_OTHER in threads, "the heartbeat does not wait behind others"
        assert os.sched_getscheduler(server.pid) == os.SCHED_OTHER
        os.kill(worker, signal.SIGKILL)
        again = worker_of(server, other_than=worker)
        assert transcribe(server).startswith("Ever tried")
        server.kill()
        deadline = time.monotonic() + PATIENCE
        while not is_gone(again):
            assert time.monotonic() < deadline, "a worker does not outlive its server"
            time.sleep(0.05)
    finally:
        server.stop()


def test_a_server_that_stops_takes_its_worker_along(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    worker = worker_of(server)
    assert server.stop() == 0
    assert is_gone(worker)
    assert "Traceback" not in server.log.read_text()
