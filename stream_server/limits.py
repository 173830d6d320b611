"""How many sessions there may be at once, in all and of one key. No sockets; the clock and the device are given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Final

from stream_protocol.errors import ClientError, ErrorCode, ServerError

RESERVE: Final = 1 / 8
"""Share of the room that is kept for keys with fewer sessions than their share, where there are several keys."""

LONGEST_WAIT: Final = 60.0
"""Nobody is told to come back later than that, in seconds: it is an estimate."""

USUAL_SESSION: Final = 300.0
"""Seconds that a session is taken to last, until some have ended."""

RECOVERY_PACE: Final = 2.0
"""Callers a second who may come back when the server only has to catch up."""

KEY_MEMORY: Final = 600.0
"""Seconds for which room is kept for another key that has asked for a session, and has none."""

TURNOVER_MEMORY: Final = 300.0
REFUSAL_MEMORY: Final = 10.0
"""Seconds after which a departure, or a refusal, has lost two thirds of its weight."""


class SessionLimit:
    """Places for sessions. Looked at before the upgrade, so that a full server says so in HTTP.

    ``most_per_key`` of 0 sets no limit per key; callers without a key share none. ``filled``: how full the device would
    be with so many more streams, where 1 is as full as it may be, and infinity says that it has to catch up; without it
    only places count. ``clock`` is in seconds and only compared with itself.
    """

    def __init__(
        self,
        most: int,
        *,
        most_per_key: int,
        retry_after: float,
        filled: Callable[[int], float] | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.most = most
        self.taken = 0
        self.arriving = 0  # connections that have not said yet what they come for
        self.is_draining = False
        self._most_per_key = most_per_key
        self._by_key: Counter[str] = Counter()
        self._asked: dict[str, float] = {}  # when the last two keys asked for a session, the later one last
        self._retry_after = retry_after
        self._filled = filled
        self._clock = clock
        self._departures = _Fading(TURNOVER_MEMORY)
        self._refusals = _Fading(REFUSAL_MEMORY)

    def check(self, streams: int = 1) -> None:
        """Whether another session may come, with so many streams.

        Raises:
            ServerError: ``SERVER_DRAINING`` or ``CAPACITY_FULL``, with when to try again.
        """
        if self.is_draining:
            raise ServerError(
                ErrorCode.SERVER_DRAINING, "the server is shutting down; connect again", retry_after=self._retry_after
            )
        if self.taken >= self.most:
            raise self.full(f"no session is free: {self.taken} of {self.most} are in use")
        self.check_streams(streams)

    @property
    def wait(self) -> float | None:
        """When to try again, for who would be refused now because there is no room; None where there is. It asks
        nothing of the limit, and is counted nowhere."""
        is_filled = self._filled is not None and self._filled(1) > 1
        return self._wait(0.0) if is_filled or self.taken >= self.most else None

    def check_streams(self, streams: int) -> None:
        """Whether the device can do with so many more streams, of whichever session.

        Raises:
            ServerError: ``CAPACITY_FULL``, with when to try again.
        """
        filled = self._filled(streams) if self._filled is not None else 0.0
        if math.isinf(filled):
            raise self.full("the server has to catch up with what it heard", pace=RECOVERY_PACE)
        if filled > 1:
            raise self.full("the server recognizes as much speech as it can")

    def arrive(self) -> None:
        """A connection comes in; `settle` follows when it has a session, or goes.

        Raises:
            ServerError: ``CAPACITY_FULL``, when as many are undecided as there may be sessions.
        """
        if self.arriving >= self.most:
            raise self.full("too many connections have not sent their init message")
        self.arriving += 1

    def settle(self) -> None:
        assert self.arriving > 0
        self.arriving -= 1

    def full(self, message: str, *, pace: float = 0.0) -> ServerError:
        """The error for a caller there is no room for, who is counted. ``pace``: places that come free in a second,
        where that is more than sessions end."""
        retry_after = self._wait(pace)
        self._refusals.add(self._clock())
        return ServerError(ErrorCode.CAPACITY_FULL, message, retry_after=retry_after)

    def acquire(self, key: str | None, streams: int = 1) -> None:
        """Take a place.

        Raises:
            ServerError: as `check`; and ``CAPACITY_FULL`` when what is left is for other keys.
            ClientError: ``RATE_LIMITED``, when the key has as many sessions as it may.
        """
        if key is not None:
            self._remember(key)
        self.check(streams)
        if key is not None:
            if 0 < self._most_per_key <= self._by_key[key]:
                raise ClientError(
                    ErrorCode.RATE_LIMITED,
                    f"this API key has {self._most_per_key} sessions, as many as it may; end one of them",
                    retry_after=self._retry_after,
                )
            if self._has_its_share(key, streams):
                raise self.full("the server is nearly full, and this API key has its share of the sessions")
            self._by_key[key] += 1
        self.taken += 1

    def release(self, key: str | None) -> None:
        """Give a place back, with the key it was taken with."""
        assert self.taken > 0
        self.taken -= 1
        self._departures.add(self._clock())
        if key is not None:
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]

    def _remember(self, key: str) -> None:
        now = self._clock()
        lately = [(other, at) for other, at in self._asked.items() if other != key and now - at < KEY_MEMORY]
        self._asked = dict([*lately[-1:], (key, now)])

    def _has_its_share(self, key: str, streams: int) -> bool:
        """Whether the rest is not for this key. The last places are for those who have few, so that a key which would
        take everything leaves another one room to begin; a key that is alone may have all."""
        if len(self._by_key.keys() | self._asked.keys()) < 2:
            return False
        filled = (self.taken + 1) / self.most
        if self._filled is not None:
            filled = max(filled, self._filled(streams))
        if filled <= 1 - RESERVE:
            return False
        sharing = max(2, len(self._by_key.keys() | {key}))
        return self._by_key[key] >= (self.taken + 1) / sharing

    def _wait(self, pace: float) -> float:
        """When to try again: after as many departures as others were told to wait for, at the pace of late. So a crowd
        does not come back all at once."""
        now = self._clock()
        pace = max(pace, self._departures.sum(now) / TURNOVER_MEMORY, self.taken / USUAL_SESSION)
        ahead = self._refusals.sum(now)
        wait = self._retry_after + (ahead / pace if pace else ahead)
        return max(self._retry_after, min(LONGEST_WAIT, round(wait, 1)))


class _Fading:
    """A count that forgets: what happened ``memory`` seconds ago weighs a third."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._count = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        self._count = self.sum(now) + 1
        self._at = now

    def sum(self, now: float) -> float:
        return self._count * math.exp((self._at - now) / self._memory)
