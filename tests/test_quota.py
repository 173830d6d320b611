"""What a key may use, and how it is counted."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
import sqlalchemy as sa

from stream_server import quota as quota_module
from stream_server.auth import ANYONE, Caller, Limits, Scope
from stream_server.jobs.database import writing
from stream_server.jobs.error import JobError, Reason
from stream_server.keys import DayUsage, KeyStore
from stream_server.quota import Quota, day_of, record_usage
from tests.support.postgres import BOTH

NOON = 86_400.0 * 20_000 + 43_200.0
DAY = day_of(NOON)


def caller(key: str = "key_1", *, minute: int = 0, at_once: int = 0, hours: float = 0.0) -> Caller:
    return Caller(key, "desk", frozenset(Scope), Limits(minute, at_once, hours))


def quota_of(database: sa.Engine | None) -> Quota:
    return Quota(database, retry_after=5.0, clock=lambda: NOON)


def limited(quota: Quota, who: Caller) -> JobError:
    with pytest.raises(JobError) as caught:
        quota.enter(who)
    assert caught.value.reason is Reason.RATE_LIMITED
    return caught.value


def used(database: sa.Engine) -> list[DayUsage]:
    return KeyStore(database, b"").usage()


async def test_requests_in_a_minute() -> None:
    quota = quota_of(None)
    who = caller(minute=3)
    left = []
    for _ in range(3):
        admission = quota.enter(who)
        left.append(admission.headers["X-RateLimit-Remaining"])
        admission.leave()
    assert left == ["2", "1", "0"]
    error = limited(quota, who)
    assert "3 requests a minute" in error.message
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 60
    headers = quota.headers(who)
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("3", "0")
    assert 0 <= int(headers["X-RateLimit-Reset"]) - time.time() <= 61
    quota.enter(caller("key_2", minute=3))


async def test_requests_are_forgotten_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = quota_of(None)
    who = caller(minute=2)
    now = time.time()
    for age in (70.0, 30.0):
        monkeypatch.setattr(time, "time", lambda age=age: now - age)
        quota.enter(who)
    monkeypatch.setattr(time, "time", lambda: now)
    assert quota.enter(who).headers["X-RateLimit-Remaining"] == "0"
    assert limited(quota, who).retry_after == pytest.approx(30.0, abs=0.01)


async def test_places_at_the_same_time() -> None:
    quota = quota_of(None)
    who = caller(at_once=2)
    first, second = quota.enter(who), quota.enter(who)
    assert first.headers == {}
    error = limited(quota, who)
    assert (error.retry_after, "2 things" in error.message) == (5.0, True)
    quota.enter(caller("key_2", at_once=2))
    first.leave()
    first.leave()  # again, and to no effect
    third = quota.enter(who)
    limited(quota, who)
    second.leave()
    third.leave()
    assert list(quota._held) == ["key_2"]


async def test_who_is_refused_is_not_counted(database: sa.Engine) -> None:
    quota = quota_of(database)
    who = caller(minute=5, at_once=1)
    admission = quota.enter(who)
    for _ in range(10):
        limited(quota, who)
    admission.leave()
    assert quota.enter(who).headers["X-RateLimit-Remaining"] == "3"
    await quota.flush()
    assert [row.requests for row in used(database)] == [2]


async def test_nobody_in_particular_has_no_limits(database: sa.Engine) -> None:
    quota = quota_of(database)
    who = Caller("", "anyone", ANYONE.scopes, Limits(1, 1, 0.001))
    for _ in range(3):
        assert quota.enter(who).headers == {}
        quota.record(who, live_seconds=100.0)
    await quota.check_hours(who)
    await quota.flush()
    record_usage(database, "", file_seconds=9.0)
    assert used(database) == []


@BOTH
async def test_hours_of_a_day_are_live_and_files_of_all_processes(database: sa.Engine) -> None:
    ours, theirs = quota_of(database), quota_of(database)
    who = caller(hours=1.0)
    await ours.check_hours(who)
    record_usage(database, who.id, file_seconds=1800.0, now=NOON)
    theirs.record(who, live_seconds=1700.0)
    await theirs.flush()
    await ours.check_hours(who)
    ours.record(who, live_seconds=100.0)  # not written yet, and counted
    with pytest.raises(JobError, match="1 hours of audio for today") as caught:
        await ours.check_hours(who)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.RATE_LIMITED, 43_200.0)
    await ours.check_hours(caller("key_2", hours=1.0))
    await ours.check_hours(caller())
    tomorrow = Quota(database, retry_after=5.0, clock=lambda: NOON + 43_200.0)
    await tomorrow.check_hours(who)


@BOTH
async def test_what_is_used_is_written_at_the_end(database: sa.Engine) -> None:
    quota = quota_of(database)
    quota.start()
    for _ in range(3):
        quota.enter(caller()).leave()
    quota.record(caller(), live_seconds=1.5)
    quota.record(caller("key_2"), live_seconds=2.5)
    assert used(database) == []
    await quota.close()
    assert used(database) == [DayUsage("key_1", DAY, 3, 1.5, 0.0), DayUsage("key_2", DAY, 0, 2.5, 0.0)]


async def test_what_is_used_is_written_now_and_then(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_module, "FLUSH_INTERVAL", 0.01)
    quota = quota_of(database)
    written = asyncio.Event()
    flush = quota.flush

    async def watched() -> None:
        await flush()
        written.set()

    monkeypatch.setattr(quota, "flush", watched)
    quota.start()
    for count in (1, 2):
        quota.enter(caller()).leave()
        written.clear()
        await written.wait()  # of what was under way
        written.clear()
        await written.wait()
        assert [row.requests for row in await asyncio.to_thread(used, database)] == [count]
    await quota.close()


@BOTH
async def test_what_cannot_be_written_is_written_later(database: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    quota = quota_of(database)
    who = caller(hours=1.0)
    quota.record(who, requests=1, live_seconds=1.0)
    with writing(database) as connection:
        connection.execute(sa.text("ALTER TABLE key_usage RENAME TO elsewhere"))
    with caplog.at_level(logging.WARNING):
        await quota.flush()
    assert "usage cannot be written" in caplog.text
    with pytest.raises(JobError) as caught:
        await quota.check_hours(who)
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    quota.record(who, requests=1, live_seconds=1.0)
    with writing(database) as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO key_usage"))
    await quota.flush()
    assert used(database) == [DayUsage("key_1", DAY, 2, 2.0, 0.0)]


@BOTH
async def test_many_writers_lose_nothing(database: sa.Engine) -> None:
    quotas = [quota_of(database) for _ in range(8)]
    for _ in range(5):
        for quota in quotas:
            for key in ("key_1", "key_2", "key_3"):
                quota.record(caller(key), requests=1, live_seconds=0.5)
        await asyncio.gather(*(quota.flush() for quota in quotas))
    assert [(row.requests, row.live_seconds) for row in used(database)] == [(40, 20.0)] * 3


@BOTH
def test_a_recording_counts_with_the_transaction_it_belongs_to(database: sa.Engine) -> None:
    with writing(database) as connection:
        record_usage(connection, "key_1", file_seconds=10.0, now=NOON)
    with pytest.raises(ZeroDivisionError):
        _undone(database)
    assert used(database) == [DayUsage("key_1", DAY, 0, 0.0, 10.0)]


def _undone(database: sa.Engine) -> None:
    with writing(database) as connection:
        record_usage(connection, "key_1", file_seconds=10.0, now=NOON)
        raise ZeroDivisionError
