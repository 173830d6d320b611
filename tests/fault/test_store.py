"""The database locked, gone, replaced, damaged or stopped: live callers go on, jobs are told to come again, and all is
as before when it is back, without a restart."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx2
import pytest

from stream_server import auth
from stream_server.jobs import database
from tests.fault.conftest import PATIENCE, SPEECH, Desk, desk
from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.postgres import Postgres, running_postgres
from tests.support.process import ServerProcess
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))

ENDS = ("", "-wal", "-shm")
"""What SQLite's files end with."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What is waited for in minutes elsewhere."""
    caplog.set_level(logging.CRITICAL + 1)
    monkeypatch.setattr(database, "LOCK_PATIENCE_SEC", 0.3)
    monkeypatch.setattr(auth, "FRESH_SEC", 0.1)
    monkeypatch.setattr(auth, "DATABASE_REST", 0.1)


async def is_heard(at: Desk) -> None:
    """A live session is taken, and comes to its end."""
    assert (await transcribe(at.server.ws_url, VOICE, INT16)).finals


async def test_a_database_that_is_locked(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.works()
        with closing(sqlite3.connect(tmp_path / database.DATABASE_NAME, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert await at.is_refused(await at.submit())
            await is_heard(at)
            other.execute("ROLLBACK")
        await at.works()
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


async def test_a_lock_that_is_given_up_in_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_PATIENCE_SEC", 60.0)
    async with desk(tmp_path) as at:
        with closing(sqlite3.connect(tmp_path / database.DATABASE_NAME, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN EXCLUSIVE")
            submitting = asyncio.create_task(at.submit())
            await asyncio.sleep(1.0)
            assert not submitting.done()
            other.execute("ROLLBACK")
            answer = await submitting
        assert answer.status_code == 202
        assert (await at.until_done(answer.json()["id"]))["status"] == "completed"


async def test_a_database_that_is_moved_away_and_put_back(tmp_path: Path) -> None:
    path = tmp_path / database.DATABASE_NAME
    async with desk(tmp_path) as at:
        await at.works()
        kept = (await at.submit()).json()["id"]
        await at.until_done(kept)
        speaking = await call(at.server.ws_url, INT16)
        await speaking.until("ready")
        path.rename(tmp_path / "elsewhere")
        assert await at.is_refused(await at.submit())
        assert await at.is_refused(await at.get(kept))
        assert not path.exists(), "nobody begins an empty one"
        await speaking.send(VOICE, "END")
        assert await speaking.rest() == 1000
        await is_heard(at)
        assert (await at.http.get("/healthz")).status_code == 200
        (tmp_path / "elsewhere").rename(path)
        assert (await at.until_done(kept))["status"] == "completed"
        await at.works()


async def test_a_database_that_is_deleted_and_restored_from_a_copy(tmp_path: Path) -> None:
    path, copy = tmp_path / database.DATABASE_NAME, tmp_path / "copy"
    async with desk(tmp_path) as at:
        kept = (await at.submit()).json()["id"]
        await at.until_done(kept)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        for end in ENDS:
            os.unlink(f"{path}{end}")
        for _ in range(3):
            assert await at.is_refused(await at.submit()), "what cannot be kept is not taken"
        await is_heard(at)
        copy.rename(path)
        assert (await at.until_done(kept))["status"] == "completed"
        await at.works()


async def test_a_database_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / database.DATABASE_NAME
    async with desk(tmp_path) as at:
        await at.works()
        for end in ENDS:
            os.rename(f"{path}{end}", f"{tmp_path}/elsewhere{end}")
        path.write_bytes(b"this is no database, whoever says so" * 1000)
        assert await at.is_refused(await at.submit())
        await is_heard(at)
        for end in reversed(ENDS):
            os.rename(f"{tmp_path}/elsewhere{end}", f"{path}{end}")
        await at.works()


def test_a_worker_that_begins_while_the_database_is_away_makes_none(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    folder = tmp_path / "data"
    jobs = f"{server.url}/v1/transcription-jobs"

    def submit() -> httpx2.Response:
        file, form = {"file": ("speech.wav", SPEECH)}, {"model": "whisper-1"}
        return httpx2.post(jobs, files=file, data=form, timeout=PATIENCE, trust_env=False)

    try:
        kept = submit().json()["id"]
        for end in ENDS:
            with suppress(FileNotFoundError):
                os.rename(folder / f"{database.DATABASE_NAME}{end}", tmp_path / f"elsewhere{end}")
        for child in server.children():
            os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while "there is no database at" not in server.log.read_text():
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.1)
        assert submit().status_code == 503
        assert not (folder / database.DATABASE_NAME).exists(), "nobody begins an empty one"
        for end in reversed(ENDS):
            with suppress(FileNotFoundError):
                os.rename(tmp_path / f"elsewhere{end}", folder / f"{database.DATABASE_NAME}{end}")
        while httpx2.get(f"{jobs}/{kept}", timeout=PATIENCE, trust_env=False).json().get("status") != "completed":
            assert time.monotonic() < deadline + PATIENCE, server.log.read_text()
            time.sleep(0.1)
    finally:
        server.stop()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """One that may be stopped: the others are shared."""
    with running_postgres() as running:
        yield running


async def test_postgres_that_is_stopped_and_started_again(tmp_path: Path, own_postgres: Postgres) -> None:
    async with desk(tmp_path, database_url=own_postgres.new_database()) as at:
        await at.works()
        kept = (await at.submit()).json()["id"]
        await at.until_done(kept)
        speaking = await call(at.server.ws_url, INT16)
        await speaking.until("ready")
        await asyncio.to_thread(own_postgres.stop)
        assert await at.is_refused(await at.submit())
        assert await at.is_refused(await at.get(kept))
        await speaking.send(VOICE, "END")
        assert await speaking.rest() == 1000
        await is_heard(at)
        await asyncio.to_thread(own_postgres.start)
        assert (await at.until_done(kept))["status"] == "completed"
        await at.works()
