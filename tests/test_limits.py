"""How many sessions there may be, and who may have them."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_protocol.errors import ErrorCode, ServerError, StreamError
from stream_server.limits import KEY_MEMORY, SessionLimit


def refused(limit: SessionLimit, key: str | None = None) -> StreamError:
    with pytest.raises(StreamError) as caught:
        limit.acquire(key)
    return caught.value


def test_a_full_server() -> None:
    limit = SessionLimit(2, most_per_key=0, retry_after=3)
    limit.acquire("a")
    limit.acquire("a")
    error = refused(limit)
    assert (error.code, error.retry_after) == (ErrorCode.CAPACITY_FULL, 3)
    limit.release("a")
    limit.acquire(None)
    assert limit.taken == 2


def test_when_to_come_back_can_be_asked_without_being_refused() -> None:
    """By browsers, whose pages are not shown why their WebSocket was refused."""
    filled = 0.5
    limit = SessionLimit(1, most_per_key=0, retry_after=3, filled=lambda _: filled)
    assert limit.wait is None
    filled = 1.1
    assert limit.wait == 3
    filled = 0.5
    limit.acquire(None)
    assert [limit.wait for _ in range(3)] == [3, 3, 3], "those who ask are not those who come back"
    limit.release(None)
    assert limit.wait is None


def test_a_key_with_as_many_as_it_may_have() -> None:
    limit = SessionLimit(10, most_per_key=1, retry_after=3)
    limit.acquire("a")
    assert refused(limit, "a").code is ErrorCode.RATE_LIMITED
    limit.acquire("b")
    limit.acquire(None)
    limit.acquire(None)
    limit.release("a")
    limit.acquire("a")


def test_a_draining_server() -> None:
    limit = SessionLimit(1, most_per_key=0, retry_after=3)
    limit.is_draining = True
    assert refused(limit).code is ErrorCode.SERVER_DRAINING


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=30), st.integers(0, 3))
def test_what_is_taken_and_given_back_leaves_nothing(keys: list[str | None], most_per_key: int) -> None:
    limit = SessionLimit(5, most_per_key=most_per_key, retry_after=1)
    held = []
    for key in keys:
        try:
            limit.acquire(key)
            held.append(key)
        except StreamError:
            if held:
                limit.release(held.pop(0))
        assert limit.taken == len(held) <= 5
        assert not most_per_key or max(held.count("a"), held.count("b")) <= most_per_key
    for key in held:
        limit.release(key)
    assert limit.taken == 0
    assert not limit._by_key


def test_as_many_may_be_undecided_as_there_are_sessions() -> None:
    limit = SessionLimit(2, most_per_key=0, retry_after=3)
    limit.arrive()
    limit.arrive()
    with pytest.raises(StreamError) as caught:
        limit.arrive()
    assert caught.value.code is ErrorCode.CAPACITY_FULL
    limit.settle()
    limit.arrive()
    assert limit.arriving == 2


class Device:
    """Full at ``room`` sessions, and a clock."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.now = 0.0
        self.limit = SessionLimit(1000, most_per_key=0, retry_after=3, filled=self.filled, clock=lambda: self.now)

    def filled(self, more: int) -> float:
        return (self.limit.taken + more) / self.room


def admitted(limit: SessionLimit, key: str | None, wanted: int) -> int:
    before = limit.taken
    for _ in range(wanted):
        with suppress(ServerError):
            limit.acquire(key)
    return limit.taken - before


def test_a_device_that_is_full_comes_before_the_number_of_places() -> None:
    made = Device(20)
    assert admitted(made.limit, None, 100) == 20
    with pytest.raises(StreamError):
        made.limit.check()
    made.limit.release(None)
    made.limit.check()


def test_a_session_of_several_channels_needs_as_much_room() -> None:
    made = Device(10)
    for _ in range(8):
        made.limit.acquire(None)
    with pytest.raises(StreamError):
        made.limit.acquire(None, 3)
    made.limit.acquire(None, 2)


def test_a_key_that_is_alone_may_have_everything() -> None:
    made = Device(80)
    assert admitted(made.limit, "a", 100) == 80


def test_a_key_with_many_sessions_leaves_another_one_room() -> None:
    made = Device(80)
    admitted(made.limit, "b", 1)
    assert admitted(made.limit, "a", 100) == 69, "and an eighth is kept"
    assert admitted(made.limit, "b", 100) == 10
    assert made.limit.taken == 80


def test_a_key_that_comes_late_gets_in_as_sessions_end() -> None:
    """Where one key had taken everything before there was another, the places that come free are not for it again."""
    made = Device(80)
    admitted(made.limit, "a", 100)
    assert admitted(made.limit, "b", 1) == 0
    for _ in range(5):
        made.limit.release("a")
        assert admitted(made.limit, "a", 1) == 0
        assert admitted(made.limit, "b", 1) == 1


def test_the_more_were_refused_the_later_the_next_one_is_told_to_come() -> None:
    made = Device(20)
    admitted(made.limit, None, 20)
    waits = [refused(made.limit).retry_after or 0.0 for _ in range(300)]
    assert waits[0] == 3, "the first one, soon"
    assert waits == sorted(waits)
    assert waits[-1] == 60, "and nobody later than this"


def test_where_sessions_end_often_nobody_waits_long() -> None:
    made = Device(20)
    admitted(made.limit, None, 20)
    for _ in range(1200):
        made.limit.release(None)
        made.limit.acquire(None)
        made.now += 0.5
    waits = [refused(made.limit).retry_after or 0.0 for _ in range(10)]
    assert 3 < waits[-1] < 12, "two places a second come free, and as many are ahead"


def test_a_server_that_only_has_to_catch_up_is_soon_there_again() -> None:
    made = SessionLimit(100, most_per_key=0, retry_after=3, filled=lambda more: math.inf)
    waits = [refused(made).retry_after or 0.0 for _ in range(5)]
    assert waits[0] == 3
    assert waits == sorted(set(waits)), "and yet they do not all come back at the same moment"
    assert waits[-1] == 5


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200), st.integers(8, 40))
def test_no_key_below_its_share_is_refused_while_there_is_room(moves: list[tuple[str, bool]], room: int) -> None:
    made = Device(room)
    held: list[str] = []
    for key, comes in moves:
        if not comes:
            if key in held:
                held.remove(key)
                made.limit.release(key)
            continue
        try:
            made.limit.acquire(key)
            held.append(key)
        except StreamError:
            sharing = len({*held, key})
            assert len(held) == room or held.count(key) >= (len(held) + 1) / max(2, sharing)
    assert made.limit.taken == len(held) <= room


def test_a_key_that_has_long_gone_keeps_nothing_from_another() -> None:
    made = Device(80)
    admitted(made.limit, "b", 1)
    made.limit.release("b")
    assert admitted(made.limit, "a", 100) == 70, "it may come back soon"
    made.now += KEY_MEMORY
    assert admitted(made.limit, "a", 100) == 10


def test_a_key_whose_session_lasts_is_not_forgotten() -> None:
    made = Device(80)
    admitted(made.limit, "b", 1)
    made.now += KEY_MEMORY
    assert admitted(made.limit, "a", 100) == 69
