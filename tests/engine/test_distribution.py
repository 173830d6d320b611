"""Counts by size, as Prometheus wants them."""

from __future__ import annotations

from stream_server.engine.distribution import Distribution


def test_each_bound_holds_what_is_as_large_and_smaller() -> None:
    distribution = Distribution((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 4.0, 9.0):
        distribution.add(value)
    assert list(distribution.cumulative()) == [("1.0", 2), ("2.0", 3), ("4.0", 4), ("+Inf", 5)]
    assert distribution.total == 16.0
