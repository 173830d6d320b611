"""How many sessions there may be, and who may have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_protocol.errors import ErrorCode, StreamError
from stream_server.limits import SessionLimit


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
