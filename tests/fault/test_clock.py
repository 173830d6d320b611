"""The machine's clock set forward and back by hours, under sessions, jobs, limits, keys and heartbeats.

Durations are measured with a clock that nobody can set. What is written down for others (tokens, days, ages of jobs) is
of the clock that can be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from stream_protocol.errors import ServerError, StreamError
from stream_server import auth
from stream_server.auth import Caller, KeyRing, Limits, Scope
from stream_server.jobs import process as process_module
from stream_server.jobs.database import open_database, writing
from stream_server.jobs.error import JobError
from stream_server.jobs.process import Heartbeat, living, new_process_id
from stream_server.jobs.table import processes
from stream_server.keys import KeyStore
from stream_server.quota import Quota
from stream_server.settings import Settings
from tests.fault.conftest import desk
from tests.protocol.sound import synthesize
from tests.support.caller import call
from tests.support.fake import FakeRecognizer
from tests.support.running import running_server
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
HOURS = 5 * 3600.0
SECRET = b"a secret of this test"
jumps = pytest.mark.parametrize("jump", [HOURS, -HOURS], ids=["forward", "back"])


@dataclass
class Clock:
    """What `time.time` says is off by ``ahead`` seconds."""

    ahead: float = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved, real = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + moved.ahead)
    return moved


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_database(Settings.load({}, data_dir=tmp_path))
    yield engine
    engine.dispose()


@jumps
async def test_a_session_does_not_notice(jump: float, clock: Clock) -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INT16 | {"inactivity_timeout": 60, "max_connection_duration": 120})
        await caller.until("ready")
        await caller.send(VOICE)
        clock.ahead = jump
        await caller.send(VOICE, "END")
        assert await caller.rest() == 1000
    done = caller.events[-1]
    assert done["type"] == "done"
    assert 0 <= done["connection_duration_sec"] < HOURS / 2
    assert all(0 <= final["latency_ms"] < HOURS * 500 for final in caller.finals)


@jumps
async def test_jobs_before_and_after_are_done(jump: float, clock: Clock, tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        before = (await at.submit()).json()["id"]
        clock.ahead = jump
        assert (await at.until_done(before))["status"] == "completed"
        await at.works()


@jumps
async def test_a_revoked_key_works_no_longer_than_it_should(
    jump: float, clock: Clock, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_SEC", 0.1)
    store = KeyStore(database, SECRET)
    ring = KeyRing([], secret=SECRET, database=database, clock=lambda: time.time())
    stored, key = store.create("desk", scopes=(Scope.LIVE,), now=time.time())
    await ring.authenticate(key)
    store.revoke(stored.id, time.time())
    clock.ahead = jump
    await asyncio.sleep(0.3)
    with pytest.raises(StreamError):
        await ring.authenticate(key)


@jumps
async def test_a_database_that_was_away_is_asked_again_in_time(
    jump: float,
    clock: Clock,
    database: sa.Engine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auth, "DATABASE_REST", 0.1)
    store = KeyStore(database, SECRET)
    ring = KeyRing([], secret=SECRET, database=database, clock=lambda: time.time())
    _, key = store.create("desk", scopes=(Scope.LIVE,), now=time.time())
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE api_keys RENAME TO elsewhere"))
    with pytest.raises(ServerError):
        await ring.authenticate(key)
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO api_keys"))
    clock.ahead = jump
    await asyncio.sleep(0.3)
    assert (await ring.authenticate(key)).name == "desk"


@jumps
async def test_nobody_is_kept_out_by_requests_of_the_future(
    jump: float, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quota = Quota(None, retry_after=1.0)
    caller = Caller("key", "desk", frozenset(Scope), Limits(requests_per_minute=3))
    for _ in range(3):
        quota.enter(caller).leave()
    with pytest.raises(JobError):
        quota.enter(caller)
    clock.ahead = jump
    for _ in range(3):
        quota.enter(caller).leave()
    with pytest.raises(JobError) as refused:
        quota.enter(caller)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after <= 60


@jumps
def test_nobody_is_taken_for_dead(
    jump: float, database: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Times of heartbeats are the database's: they jump for all processes at once."""
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(process_module, "BEAT_SEC", 0.02)
    observer = Heartbeat(database, new_process_id(), works=False)
    with writing(database) as connection:  # one on another machine, which is not seen to be alive but by its beat
        seen_at = connection.scalar(sa.select(processes.c.seen_at))
        connection.execute(processes.insert().values(id="other", host="elsewhere", pid=1, works=True, seen_at=seen_at))
    real = process_module._now
    monkeypatch.setattr(process_module, "_now", lambda engine: real(engine) + jump)
    monkeypatch.setattr(process_module, "BEAT_SEC", 3600.0)
    first = living(database, observer.process)
    observer.close()
    assert first is None or "other" in first, "whose own beat is late knows nothing of others"
