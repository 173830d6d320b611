"""When a step counts as hung, looked at by hand; the thread that looks is in `tests/fault`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stream_server.engine.watchdog import Watchdog


class Watched:
    """A thread that waits, and what its watchdog said."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.thread = threading.Thread(target=self.release.wait)
        self.thread.start()
        self.said: list[str] = []
        self.dog = Watchdog(self.thread, 30.0, hung=self.said.append, died=lambda: self.said.append("died"))

    def end(self) -> None:
        self.release.set()
        self.thread.join()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.end()


def test_a_step_that_does_not_end_is_told_once_with_its_place(watched: Watched) -> None:
    with watched.dog.watching():
        assert all(watched.dog.look() for _ in range(30))
        assert watched.said == []
        assert not watched.dog.look()
    assert len(watched.said) == 1
    assert "wait (threading.py:" in watched.said[0]


def test_many_steps_of_some_length_are_none_that_hangs(watched: Watched) -> None:
    for _ in range(10):
        with watched.dog.watching():
            assert all(watched.dog.look() for _ in range(30))
        assert watched.dog.look()
    assert all(watched.dog.look() for _ in range(100)), "a thread that waits for work does not hang"
    assert watched.said == []


def test_a_step_that_raises_has_ended(watched: Watched) -> None:
    with pytest.raises(LookupError), watched.dog.watching():
        raise LookupError
    assert all(watched.dog.look() for _ in range(100))


def test_a_thread_that_has_ended_is_told(watched: Watched) -> None:
    with ExitStack() as stack:
        stack.enter_context(watched.dog.watching())
        watched.end()
        assert not watched.dog.look()
    assert watched.said == ["died"]
