"""What each API key may use, and what it has used: requests, places at the same time, hours of audio.

Requests per minute and places are counted in memory, by each server process for itself; hours of audio are those of the
database, which all processes share. It knows callers, and nothing of HTTP or sockets.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy.dialects import postgresql, sqlite

from stream_server.auth import Caller
from stream_server.jobs.database import writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.table import usage

logger = logging.getLogger(__name__)

FLUSH_INTERVAL: Final = 5.0
"""Seconds between two writes of what has been used: not a write for each request."""

CLOCK_SLACK: Final = 5.0
"""Seconds that the clock may be set back between two requests before what was counted is given up."""


@dataclass
class Admission:
    """A caller's place. ``headers`` tell it what is left; `leave` gives the place back, and may be called again."""

    headers: dict[str, str]
    _release: Callable[[], None]
    _is_held: bool = True

    def leave(self) -> None:
        if self._is_held:
            self._is_held = False
            self._release()


@dataclass
class _Used:
    requests: int = 0
    live_seconds: float = 0.0

    def add(self, requests: int, live_seconds: float) -> None:
        self.requests += requests
        self.live_seconds += live_seconds


class Quota:
    """Holds callers to their limits. For one event loop; between `start` and `close` what is used is written.

    A caller without an id, on an open server, has no limits and is not counted.

    Args:
        database: where use is recorded; None records nothing and knows no hours.
        retry_after: seconds after which a caller who has too much at the same time is told to try again.
        clock: seconds since the epoch.
    """

    def __init__(
        self, database: sa.Engine | None, *, retry_after: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._retry_after = retry_after
        self._clock = clock
        self._storage = MemoryStorage()
        self._window = MovingWindowRateLimiter(self._storage)
        self._lead = _lead()
        self._held: Counter[str] = Counter()
        self._pending: dict[tuple[str, str], _Used] = {}
        self._closing = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def enter(self, caller: Caller) -> Admission:
        """Begin a request, or a live session: it counts, and holds a place until `Admission.leave`.

        Raises:
            JobError: ``RATE_LIMITED``, with when to try again.
        """
        if not caller.id:
            return Admission({}, lambda: None)
        most = caller.limits.concurrent_requests
        if 0 < most <= self._held[caller.id]:
            raise JobError(
                Reason.RATE_LIMITED,
                f"this API key may do {most} things at the same time; wait until one has ended",
                retry_after=self._retry_after,
            )
        headers = self._hit(caller)
        self._held[caller.id] += 1
        self.record(caller, requests=1)
        return Admission(headers, lambda: self._leave(caller.id))

    def headers(self, caller: Caller) -> dict[str, str]:
        """What is left of this minute's requests, as ``X-RateLimit-*`` headers; none without a limit."""
        most = caller.limits.requests_per_minute
        if not caller.id or not most:
            return {}
        window = self._window.get_window_stats(RateLimitItemPerMinute(most), caller.id)
        return {
            "X-RateLimit-Limit": str(most),
            "X-RateLimit-Remaining": str(max(0, window.remaining)),
            "X-RateLimit-Reset": str(math.ceil(window.reset_time)),
        }

    async def check_hours(self, caller: Caller) -> None:
        """Whether there is audio left for today; how long the audio to come is, is not known yet.

        Raises:
            JobError: ``RATE_LIMITED``, or ``SERVICE_UNAVAILABLE`` where it cannot be found out.
        """
        most = caller.limits.audio_hours_per_day
        if not caller.id or not most or self._database is None:
            return
        now = datetime.fromtimestamp(self._clock(), UTC)
        day = now.date().isoformat()
        try:
            used = await asyncio.to_thread(_used_seconds, self._database, caller.id, day)
        except sa.exc.SQLAlchemyError as error:
            raise JobError(
                Reason.SERVICE_UNAVAILABLE,
                "it cannot be checked at the moment how much this API key has used; try again",
                retry_after=self._retry_after,
            ) from error
        used += self._pending.get((caller.id, day), _Used()).live_seconds
        if used >= most * 3600:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            raise JobError(
                Reason.RATE_LIMITED,
                f"this API key has used its {most:g} hours of audio for today; the next day begins at midnight UTC",
                retry_after=(midnight - now).total_seconds(),
            )

    def record(self, caller: Caller, *, requests: int = 0, live_seconds: float = 0.0) -> None:
        """Note what has been used; it is written within `FLUSH_INTERVAL` seconds."""
        if caller.id and self._database is not None:
            place = caller.id, day_of(self._clock())
            self._pending.setdefault(place, _Used()).add(requests, live_seconds)

    def start(self) -> None:
        self._writer = asyncio.get_running_loop().create_task(self._write_now_and_then())

    async def close(self) -> None:
        """Write the rest, and stop."""
        self._closing.set()
        if self._writer is not None:
            await self._writer
        await self.flush()

    async def flush(self) -> None:
        """Write what has been used. What cannot be written is kept for the next time."""
        if self._database is None or not self._pending:
            return
        taken, self._pending = self._pending, {}
        try:
            await asyncio.to_thread(_write, self._database, taken)
        except sa.exc.SQLAlchemyError as error:
            logger.warning("usage cannot be written: %s", getattr(error, "orig", None) or type(error).__name__)
            for place, used in taken.items():
                self._pending.setdefault(place, _Used()).add(used.requests, used.live_seconds)

    async def _write_now_and_then(self) -> None:
        while not self._closing.is_set():
            await self.flush()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_INTERVAL):
                    await self._closing.wait()

    def _hit(self, caller: Caller) -> dict[str, str]:
        most = caller.limits.requests_per_minute
        lead, self._lead = self._lead, _lead()
        if self._lead < lead - CLOCK_SLACK:  # what was counted lies in the future now, and would count until then
            logger.warning("the clock was set back by %.0f s: requests are counted anew", lead - self._lead)
            self._storage.reset()
        if most and not self._window.hit(RateLimitItemPerMinute(most), caller.id):
            window = self._window.get_window_stats(RateLimitItemPerMinute(most), caller.id)
            raise JobError(
                Reason.RATE_LIMITED,
                f"this API key may make {most} requests a minute",
                retry_after=max(0.0, window.reset_time - time.time()),  # the library's own clock
            )
        return self.headers(caller)

    def _leave(self, key: str) -> None:
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


def _lead() -> float:
    """By how much the clock of the library, which can be set, is before the one that cannot."""
    return time.time() - time.monotonic()


def day_of(now: float) -> str:
    """The day (UTC, ISO 8601) of a time in seconds since the epoch."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def record_usage(
    database: sa.Engine | sa.Connection, key: str, *, file_seconds: float, now: float | None = None
) -> None:
    """Note that a recording of this length was transcribed for a key; nothing without a key.

    Given a connection it is part of the transaction there, so that a job that is completed is counted exactly once.
    """
    if not key:
        return
    day = day_of(time.time() if now is None else now)
    if isinstance(database, sa.Connection):
        _add(database, key, day, file_seconds=file_seconds)
        return
    with writing(database) as connection:
        _add(connection, key, day, file_seconds=file_seconds)


def _write(database: sa.Engine, amounts: Mapping[tuple[str, str], _Used]) -> None:
    with writing(database) as connection:
        for key, day in sorted(amounts):  # in one order everywhere, so that no two servers wait for each other
            used = amounts[key, day]
            _add(connection, key, day, requests=used.requests, live_seconds=used.live_seconds)


def _add(connection: sa.Connection, key: str, day: str, **amounts: float) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = insert(usage).values(api_key=key, day=day, **amounts)
    changes = {name: usage.c[name] + row.excluded[name] for name in amounts}
    connection.execute(row.on_conflict_do_update(index_elements=[usage.c.api_key, usage.c.day], set_=changes))


def _used_seconds(database: sa.Engine, key: str, day: str) -> float:
    statement = sa.select(usage.c.live_seconds + usage.c.file_seconds).where(usage.c.api_key == key, usage.c.day == day)
    with database.connect() as connection:
        return connection.scalar(statement) or 0.0
