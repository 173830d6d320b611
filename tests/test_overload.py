"""When a caller is told of overload: levels and times in, warnings out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_protocol.events import WarningCode
from stream_server.overload import RECOVERY, WARNING_INTERVAL, Backpressure, Degradation


def told(levels: list[float], *, apart: float = 0.1) -> list[float | None]:
    """What is told at each of these levels; -1 for nothing."""
    made = Backpressure()
    warnings = [made.notice(level, apart * at) for at, level in enumerate(levels)]
    return [-1 if warning is None else warning.level for warning in warnings]


def test_a_queue_that_fills_up_is_told_of_before_it_is_full() -> None:
    assert told([0.2, 0.5, 0.6, 0.76, 0.9, 1.3, 1.2]) == [-1, 0.5, -1, 0.76, -1, 1.0, -1]


def test_that_it_is_short_again_is_told_once() -> None:
    assert told([0.1, 0.8, 0.4, 0.24, 0.2, 0.3, 0.5]) == [-1, 0.8, -1, 0.24, -1, -1, 0.5]


def test_a_queue_that_stays_full_is_told_of_now_and_then() -> None:
    full = told([1.5] * 25, apart=1.0)
    assert [at for at, level in enumerate(full) if level == 1.0] == [0, 10, 20]


def test_only_who_is_full_is_told_that_he_is_read_more_slowly() -> None:
    made = Backpressure()
    half, full = made.notice(0.6, 0.0), made.notice(1.1, 0.1)
    assert half is not None
    assert full is not None
    assert "slowly" not in half.message
    assert "slowly" in full.message


@given(st.lists(st.floats(0, 5), max_size=100), st.floats(0.01, 5))
def test_levels_are_levels_and_warnings_are_few(levels: list[float], apart: float) -> None:
    given_out = [level for level in told(levels, apart=apart) if level != -1]
    assert all(level is not None and 0 <= level <= 1 for level in given_out)
    starts = sum(level is not None and level >= 0.25 for level in given_out)
    ends = len(given_out) - starts
    assert ends <= starts


def test_partials_that_thin_out_are_told_of_and_so_is_the_end() -> None:
    made = Degradation()
    assert made.look(0.0) is None
    begun = made.felt(1.0)
    assert begun is not None
    assert (begun.code, begun.level) == (WarningCode.DEGRADED, None)
    assert made.felt(2.0) is None
    assert made.look(2.0 + RECOVERY - 0.1) is None
    over = made.look(2.0 + RECOVERY)
    assert over is not None
    assert (over.code, over.level) == (WarningCode.DEGRADED, 0.0)
    assert made.look(100.0) is None
    assert made.felt(100.0) is not None, "a new beginning is told at once"


def test_partials_that_stay_thin_are_told_of_now_and_then() -> None:
    made = Degradation()
    warned = [at for at in range(35) if made.felt(float(at)) is not None]
    assert warned == [0, 10, 20, 30]
    assert WARNING_INTERVAL == 10.0
