"""The engine with a model that hangs or returns nonsense, and with its thread killed: nobody is left in silence."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any

import pytest

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.recognizer import Kind, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import EngineLostError, Failure, Hypothesis, Lost, Outcome, Result
from tests.engine.stepping import OPTIONS, Caller, engine, run, segment, silence
from tests.support.fake import FakeRecognizer, spoken
from tests.support.garbage import Garbled
from tests.support.thread import kill_thread

PATIENCE = 30.0


@contextmanager
def running(recognizer: FakeRecognizer, step_timeout: float = 60.0) -> Iterator[Engine]:
    made = Engine(recognizer, EngineSettings(step_timeout=step_timeout))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Listener:
    """A caller of a running engine."""

    engine: Engine
    name: str = ""
    outcomes: queue.SimpleQueue[Outcome] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.stream = self.engine.open(OPTIONS, self.outcomes.put, about={"session_id": self.name})

    def say(self) -> None:
        self.stream.submit(segment(silence(0.1)))

    def lost(self) -> str:
        outcome = self.outcomes.get(timeout=PATIENCE)
        assert isinstance(outcome, Lost), outcome
        return outcome.reason


class Hanging(FakeRecognizer):
    """Hangs in its step until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging = threading.Event()
        self.let_go = threading.Event()

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        self.hanging.set()
        assert self.let_go.wait(PATIENCE)
        return super().step(tasks)


def test_a_step_that_hangs_is_told_to_everybody(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Hanging()
    with running(recognizer, step_timeout=0.2) as made:
        speaking, silent = Listener(made, "speaking"), Listener(made, "silent")
        speaking.say()
        for caller in (speaking, silent):
            assert "a step has not ended within 0.2 s" in caller.lost()
        assert not made.is_alive
        with pytest.raises(EngineLostError, match="has not ended"):
            made.open(OPTIONS, print)
        assert made.statistics.hung == 1
        record = caplog.records[-1]
        assert record.levelno == logging.CRITICAL
        assert record.__dict__["step_of"] == ["speaking"]
        assert "step (test_engine.py:" in record.__dict__["place"]
        made.stop()
        assert "left behind" not in caplog.text, "who stops does not wait for a step that is known to hang"
        recognizer.let_go.set()
        made._thread.join(PATIENCE)
        assert not made._thread.is_alive(), "a step that ends after all ends the thread"
    assert speaking.outcomes.empty(), "nothing comes after the end"


def test_a_step_that_takes_its_time_is_waited_for() -> None:
    recognizer = Hanging()
    with running(recognizer, step_timeout=60.0) as made:
        caller = Listener(made)
        caller.say()
        assert recognizer.hanging.wait(PATIENCE)
        recognizer.let_go.set()
        assert isinstance(caller.outcomes.get(timeout=PATIENCE), Result)
        assert made.is_alive


@pytest.mark.parametrize("error", [SystemExit, MemoryError, KeyboardInterrupt])
def test_a_thread_that_is_killed_while_it_waits_is_told(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    with running(FakeRecognizer(), step_timeout=1.0) as made:
        caller = Listener(made)
        kill_thread(made._thread, error)
        caller.say()  # an idle thread sees the exception when it wakes up
        assert error.__name__ in caller.lost()
        assert made.lost is not None


def test_a_thread_that_is_killed_in_a_step_is_told(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Hanging()
    with running(recognizer) as made:
        caller = Listener(made)
        caller.say()
        assert recognizer.hanging.wait(PATIENCE)
        kill_thread(made._thread, SystemExit)
        recognizer.let_go.set()
        assert "SystemExit" in caller.lost()


def test_a_thread_that_cannot_even_say_so_is_missed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Engine, "_run", lambda self: None)
    with running(FakeRecognizer(), step_timeout=1.0) as made:
        caller = Listener(made)
        caller.say()
        assert "the thread of the engine has ended" in caller.lost()


def test_an_engine_that_is_stopped_has_not_died(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        with running(FakeRecognizer(), step_timeout=0.01) as made:
            pass
        assert made.lost is None
    assert caplog.records == []


class Unopenable(FakeRecognizer):
    """Cannot make a stream."""

    def new_stream(self, slot: Slot) -> Stream:
        raise MemoryError("no room for a stream")


def test_a_stream_that_cannot_be_made_takes_no_place() -> None:
    made = engine(Unopenable())
    for _ in range(3):
        with pytest.raises(MemoryError):
            made.open(OPTIONS, print)
    assert made.streams == 0


def altered(hypothesis: Hypothesis, **changes: Any) -> Hypothesis:
    return replace(hypothesis, **changes)


NONSENSE: dict[str, Callable[[Hypothesis], Any]] = {
    "nothing": lambda hypothesis: None,
    "no text": lambda hypothesis: altered(hypothesis, text=None),
    "bytes": lambda hypothesis: altered(hypothesis, text=hypothesis.text.encode()),
    "a novel": lambda hypothesis: altered(hypothesis, text="la " * 100_000),
    "not a number": lambda hypothesis: altered(hypothesis, confidence=nan),
    "more stable than there is": lambda hypothesis: altered(hypothesis, stable_chars=len(hypothesis.text) + 1),
    "words elsewhere": lambda hypothesis: altered(
        hypothesis, words=tuple(replace(word, end=word.end + 10**7) for word in hypothesis.words or ())
    ),
    "words backwards": lambda hypothesis: altered(hypothesis, words=(hypothesis.words or ())[::-1]),
    "words that are none": lambda hypothesis: altered(hypothesis, words=["alpha"]),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("kind", ["segment", "streaming"])
def test_who_gets_nonsense_is_told_and_the_others_go_on(
    kind: str, nonsense: Callable[[Hypothesis], Any], caplog: pytest.LogCaptureFixture
) -> None:
    recognizer = Garbled(nonsense, FakeRecognizer() if kind == "segment" else FakeRecognizer.streaming(), segment=13)
    made = engine(recognizer)
    options = replace(OPTIONS, partial_samples=None)
    good, bad = Caller(made, options), Caller(made, options)
    bad.stream.about = {"session_id": "the one"}
    good.say(silence(0.7), number=1)
    bad.say(silence(0.7), number=13)
    run(made)
    assert good.final.text == spoken(11200)
    *before, last = bad.outcomes
    assert isinstance(last, Failure)
    assert not any(isinstance(outcome, Result) and outcome.is_final for outcome in before)
    assert (made.statistics.garbage, made.statistics.failed, made.statistics.retried) == (1, 1, 0)
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert (record.__dict__["session_id"], record.__dict__["segment_id"]) == ("the one", 13)
    bad.say(silence(0.7), number=2, start=11200)
    run(made)
    assert isinstance(bad.outcomes[-1], Result), "the stream itself goes on"


class Miscounting(FakeRecognizer):
    """One hypothesis too many."""

    def step(self, tasks: Sequence[Task]) -> Any:
        hypotheses = super().step(tasks)
        return [*hypotheses, hypotheses[0]]


def test_a_wrong_number_of_hypotheses_is_nobodys_and_is_not_retried(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Miscounting.streaming()
    made = engine(recognizer)
    callers = [Caller(made), Caller(made)]
    for caller in callers:
        caller.say(silence(0.1))
    run(made)
    assert [[type(outcome) for outcome in caller.outcomes] for caller in callers] == [[Failure], [Failure]]
    assert recognizer.batches == [[Kind.FINAL] * 2], "a stream has heard its audio once"
    assert "3 hypotheses for 2 tasks" in caplog.text


def test_async_exceptions_are_what_they_seem() -> None:
    """The means of these tests: without it they would pass for nothing."""
    ended = threading.Event()

    def spin() -> None:
        try:
            while not ended.wait(0.01):
                pass
        except SystemExit:
            ended.set()

    thread = threading.Thread(target=spin)
    thread.start()
    kill_thread(thread, SystemExit)
    thread.join(PATIENCE)
    assert ended.is_set()
