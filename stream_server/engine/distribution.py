"""Counts values by size, for a thread that has no time to lose: no locks, no library. It knows not what it counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence


class Distribution:
    """How many values were at most as large as each of ``bounds``, which ascend. Written by one thread, read by any."""

    def __init__(self, bounds: Sequence[float]) -> None:
        assert list(bounds) == sorted(bounds)
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Each bound and how many values it holds, the last one ``+Inf``: as Prometheus wants them."""
        count = 0
        for bound, own in zip((*map(str, self._bounds), "+Inf"), tuple(self._counts), strict=True):
            count += own
            yield bound, count
