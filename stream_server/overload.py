"""When a caller is told that more is asked of the server than it can do, how much more, and that it is over.

Levels and times in, warnings out. It does not know who measures, nor how a warning is sent.
"""

from __future__ import annotations

import math
from typing import Final

from stream_protocol.events import Warning, WarningCode

WARNING_INTERVAL: Final = 10.0
"""Seconds between two warnings that say the same."""

LEVELS: Final = (0.5, 0.75, 1.0)
"""How full a caller's queue is each time that it is told so; at 1 its socket is no longer read."""

EMPTY: Final = 0.25
"""Below that it is told that the queue is short again."""

RECOVERY: Final = 10.0
"""Seconds without a sign of overload after which it is over."""


class Backpressure:
    """One caller's queue of audio that waits to be recognized."""

    def __init__(self) -> None:
        self._told = 0  # of LEVELS
        self._told_at = -math.inf

    @property
    def is_told(self) -> bool:
        """Whether the caller has been warned, and not told yet that it is over."""
        return self._told > 0

    def notice(self, level: float, now: float) -> Warning | None:
        """The queue is as full as that; returns what there is to tell."""
        level = min(1.0, level)
        reached = sum(level >= mark for mark in LEVELS)
        if self.is_told and level < EMPTY:
            self._told = 0
            return Warning(WarningCode.BACKPRESSURE, "audio is recognized as it comes again", level=round(level, 2))
        if reached > self._told or (reached and now >= self._told_at + WARNING_INTERVAL):
            self._told, self._told_at = max(reached, self._told), now
            slower = ": it is read more slowly" if level == 1.0 else ""
            message = f"audio comes faster than it can be recognized{slower}"
            return Warning(WarningCode.BACKPRESSURE, message, level=round(level, 2))
        return None


class Degradation:
    """Whether one caller's partials come as asked for."""

    def __init__(self) -> None:
        self._felt_at = -math.inf
        self._told_at = -math.inf

    def felt(self, now: float) -> Warning | None:
        """The caller has got less than it asked for; returns what there is to tell."""
        self._felt_at = now
        if now < self._told_at + WARNING_INTERVAL:
            return None
        self._told_at = now
        return Warning(WarningCode.DEGRADED, "the server is overloaded: partials come less often, or late")

    def look(self, now: float) -> Warning | None:
        """Time has passed; returns what there is to tell."""
        if self._told_at == -math.inf or now < self._felt_at + RECOVERY:
            return None
        self._told_at = -math.inf
        return Warning(WarningCode.DEGRADED, "partials come as asked for again", level=0.0)
