"""Slots and their generations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.slots import Slot, SlotPool
from stream_server.engine.work import EngineFullError


def test_a_full_pool_says_so() -> None:
    pool = SlotPool(2)
    taken = [pool.acquire(), pool.acquire()]
    assert sorted(slot.index for slot in taken) == [0, 1]
    with pytest.raises(EngineFullError, match="all 2 streams are in use"):
        pool.acquire()
    assert pool.taken == 2


def test_a_slot_given_to_another_is_not_current_for_the_first() -> None:
    pool = SlotPool(1)
    first = pool.acquire()
    pool.release(first)
    assert not pool.is_current(first)
    second = pool.acquire()
    assert second.index == first.index
    assert second != first
    assert pool.is_current(second)
    assert not pool.is_current(first)


def test_a_slot_is_released_once() -> None:
    pool = SlotPool(1)
    slot = pool.acquire()
    pool.release(slot)
    with pytest.raises(AssertionError):
        pool.release(slot)


@given(st.lists(st.integers(0, 5), max_size=60))
def test_whatever_comes_and_goes_no_slot_has_two_owners(moves: list[int]) -> None:
    """Each number releases the owner of that rank, where there is one, and otherwise acquires."""
    pool, owners, gone = SlotPool(4), list[Slot](), list[Slot]()
    for move in moves:
        if move < len(owners):
            pool.release(owners[move])
            gone.append(owners.pop(move))
        elif len(owners) < 4:
            owners.append(pool.acquire())
        assert len({slot.index for slot in owners}) == len(owners) == pool.taken
        assert all(map(pool.is_current, owners))
        assert not any(map(pool.is_current, gone))
