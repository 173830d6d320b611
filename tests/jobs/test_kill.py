"""``kill -9`` at any moment: every job ends once, every callback comes with one id, and no file is left behind."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from stream_server.engine.moonshine.asset import find_recording
from tests.support.postgres import Postgres
from tests.support.process import Process, ServerProcess
from tests.support.receiver import Callback, Receiver, running_receiver
from tests.support.speech import cut_wav

JOBS: Final = 50
KILLS: Final = 20
PATIENCE_SEC: Final = 240.0
TAKEN_OVER_SEC: Final = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        receiver.files["/speech.wav"] = cut_wav(find_recording("beckett.wav"), 3.0)
        yield receiver


def client(server: ServerProcess) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, timeout=30, trust_env=False)


def submit(server: ServerProcess, receiver: Receiver, number: int) -> str | None:
    """Make a job, by upload or by address; None when the server died over it."""
    callback = f"{receiver.url}/callbacks/{number}"
    try:
        with client(server) as http:
            if number % 2:
                answer = http.post("/v1/listen", json={"url": f"{receiver.url}/speech.wav", "callback_url": callback})
            else:
                files = {"audio": ("speech.wav", receiver.files["/speech.wav"], "audio/wav")}
                answer = http.post("/v1/listen", files=files, data={"callback_url": callback})
    except httpx2.TransportError:
        return None
    if answer.status_code == 503:
        return None
    assert answer.status_code == 200, answer.text
    job: str = answer.json()["job_id"]
    return job


def all_jobs(server: ServerProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    with client(server) as http:
        while True:
            page = http.get("/v1/transcriptions", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
            found += page["data"]
            cursor = page.get("next_cursor")
            if not cursor:
                return found


def wait_until_finished(server: ServerProcess, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline:
        jobs = all_jobs(server)
        if len(jobs) >= count and all(job["status"] in ("completed", "failed", "cancelled") for job in jobs):
            return jobs
        time.sleep(0.2)
    raise AssertionError(f"unfinished: {[(job['id'], job['status'], job['progress']) for job in jobs]}")


def stored_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "data" / "objects").rglob("*") if path.is_file())


def wait_until_empty(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while stored_files(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert stored_files(folder) == []


def ids_by_job(callbacks: list[Callback]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for callback in callbacks:
        assert callback.values["status"] == "completed", callback.body
        found[str(callback.values["job_id"])].add(callback.id)
    return found


@pytest.mark.slow
def test_jobs_survive_being_killed(tmp_path: Path, receiver: Receiver) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    refused: set[str] = set()

    def answer(callback: Callback) -> int:  # every third is refused once, so that the next try can be killed too
        first = callback.id not in refused
        refused.add(callback.id)
        return 500 if first and hash(callback.id) % 3 == 0 else 200

    receiver.answer = answer
    server = ServerProcess(tmp_path, allowed_hosts="127.0.0.0/8", job_worker="process", log_format="json")
    accepted: set[str] = set()
    done = threading.Event()

    def make_jobs() -> None:
        for number in range(JOBS):
            while (job := submit(server, receiver, number)) is None:
                time.sleep(0.1)
            accepted.add(job)
        done.set()

    making = threading.Thread(target=make_jobs)
    making.start()
    try:
        for number in range(KILLS):
            time.sleep(rng.uniform(0.2, 2.5))
            workers = server.children()
            if number % 4 == 3 and workers:  # sometimes the worker alone, which the server has to notice
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                continue
            server.kill()
            server.restart()
        assert done.wait(PATIENCE_SEC)
        making.join()
        jobs = wait_until_finished(server, JOBS)
        assert accepted <= {job["id"] for job in jobs}, "what was accepted was not lost"
        assert {job["status"] for job in jobs} == {"completed"}, [job["error"] for job in jobs if job["error"]]
        everyone = {job["id"] for job in jobs}
        receiver.wait_for(lambda callbacks: ids_by_job(callbacks).keys() >= everyone)
        told = ids_by_job(receiver.callbacks)
        assert told.keys() == everyone
        assert all(len(ids) == 1 for ids in told.values()), "a callback that is tried again has the same id"
        wait_until_empty(tmp_path)
        assert len({job["text"] for job in jobs}) == 1, "each was transcribed whole"
    finally:
        done.set()
        server.stop()


@pytest.mark.slow
def test_another_worker_takes_over_from_one_that_was_killed(
    tmp_path: Path, receiver: Receiver, postgres: Postgres
) -> None:
    shared = {
        "database_url": postgres.new_database(),
        "object_store": tmp_path / "data" / "objects",
        "secret": "a secret that all of them share",
        "allowed_hosts": "127.0.0.0/8",
    }
    receiver.files["/long.wav"] = cut_wav(find_recording("two_cities.wav"), 44.0, times=15)
    server = ServerProcess(tmp_path, job_worker="elsewhere", **shared)
    workers: list[Process] = []
    try:
        for number in range(2):
            folder = tmp_path / f"worker{number}"
            folder.mkdir()
            workers.append(Process(folder, "worker", data_dir=folder, max_jobs=2, **shared))
        with client(server) as http:
            for _ in range(4):
                http.post("/v1/transcriptions", json={"audio_url": f"{receiver.url}/long.wav", "mode": "async"})
        for number in range(12):
            assert submit(server, receiver, number) is not None
        deadline = time.monotonic() + 60
        # Each holds two. A job that is processed may wait in a queue as well, between its download and the rest.
        while sum((job.get("progress") or {}).get("stage") == "transcription" for job in all_jobs(server)) < 4:
            assert time.monotonic() < deadline, "both workers work"
            time.sleep(0.05)
        workers[0].kill()
        killed = time.monotonic()
        alive = (workers[1].log, server.log)  # whichever of them notices first
        while not any("taken over" in log.read_text() for log in alive):
            assert time.monotonic() < killed + TAKEN_OVER_SEC, [log.read_text() for log in alive]
            time.sleep(0.05)
        jobs = wait_until_finished(server, 16)
        assert {job["status"] for job in jobs} == {"completed"}, [job["error"] for job in jobs if job["error"]]
        receiver.wait_for(lambda callbacks: len(ids_by_job(callbacks)) == 12)
        assert all(len(ids) == 1 for ids in ids_by_job(receiver.callbacks).values())
        wait_until_empty(tmp_path)
        assert workers[1].stop() == 0, "a worker that is told to stop does so"
    finally:
        for worker in workers:
            if worker.is_running:
                worker.kill()
        server.stop()
