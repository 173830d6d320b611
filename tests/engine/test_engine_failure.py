"""What fails in the engine, and who is told: a task, a batch, the device, the engine itself."""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from dataclasses import replace

import pytest

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError, Kind, Task
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    CloseSegment,
    EngineLostError,
    Failure,
    Hypothesis,
    Lost,
    OpenSegment,
    Outcome,
    PauseSegment,
    Result,
)
from tests.engine.stepping import FAR, OPTIONS, Caller, engine, run, segment, silence
from tests.support.fake import FakeRecognizer, spoken


def test_a_poisoned_segment_fails_and_the_others_of_its_batch_do_not(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = FakeRecognizer.streaming()
    recognizer.poison = 13
    made = engine(recognizer)
    good, bad, other = Caller(made), Caller(made), Caller(made)
    for caller, number in ((good, 1), (bad, 13), (other, 2)):
        caller.say(silence(0.1), number=number)
    run(made)
    assert recognizer.batches == [[Kind.FINAL] * 3, [Kind.FINAL], [Kind.FINAL], [Kind.FINAL]], "retried once, singly"
    assert bad.outcomes == [Failure(13, "RuntimeError: the fake was told to fail")]
    assert good.final.text == other.final.text == spoken(1600)
    assert (made.statistics.retried, made.statistics.failed) == (1, 1)
    assert "the recognizer failed on a segment" in caplog.text
    bad.say(silence(0.1), number=14, start=1600)
    run(made)
    assert isinstance(bad.outcomes[-1], Result), "the stream itself goes on"


class Forgetful(FakeRecognizer):
    """Breaks the interface: one hypothesis too few."""

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        return super().step(tasks)[1:]


def test_a_recognizer_that_answers_too_little_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    callers = [Caller(made := engine(Forgetful()), replace(OPTIONS, partial_samples=None))]
    callers.append(Caller(made, replace(OPTIONS, partial_samples=None)))
    for caller in callers:
        caller.say(silence(0.1))
    run(made)
    assert [[type(each) for each in caller.outcomes] for caller in callers] == [[Failure], [Failure]]
    assert caplog.records


def test_a_caller_that_cannot_take_its_result_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    made = engine()

    def refuse(outcome: Outcome) -> None:
        raise RuntimeError("nobody is here")

    broken = made.open(OPTIONS, refuse)
    broken.submit(segment(silence(0.2)))
    fine = Caller(made)
    fine.say(silence(0.2))
    run(made)
    assert fine.final.text == spoken(3200)
    assert "a result could not be delivered" in caplog.text


def test_the_thread_survives_whatever_fails(
    results: queue.SimpleQueue[tuple[int, Outcome]], caplog: pytest.LogCaptureFixture
) -> None:
    recognizer = FakeRecognizer(fails=True)
    made = Engine(recognizer, EngineSettings())
    made.start()
    stream = made.open(OPTIONS, lambda outcome: results.put((0, outcome)))
    stream.submit(segment(silence(0.1)))
    assert isinstance(results.get(timeout=20)[1], Failure)
    recognizer.fails = False
    stream.submit(segment(silence(0.1), number=1, start=1600))
    assert isinstance(results.get(timeout=20)[1], Result)
    with caplog.at_level(logging.CRITICAL):
        made.stop()


def test_nothing_more_comes_of_a_segment_that_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = FakeRecognizer.streaming()
    recognizer.poison = 0
    caller = Caller(made := engine(recognizer))
    with caplog.at_level(logging.CRITICAL + 1):
        caller.stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(2.0), FAR)])
        run(made)
        caller.stream.submit([AppendAudio(silence(2.0), FAR), PauseSegment(), CloseSegment(4 * SAMPLE_RATE)])
        run(made)
    assert [type(outcome) for outcome in caller.outcomes] == [Failure]
    assert not caller.stream.planner.backlog
    caller.say(silence(1.0), number=1, start=4 * SAMPLE_RATE)
    run(made)
    assert caller.final.text == spoken(SAMPLE_RATE)


def test_a_fault_of_the_engine_itself_is_told_to_everybody(
    results: queue.SimpleQueue[tuple[int, Outcome]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Engine(FakeRecognizer(), EngineSettings())

    def fail() -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(made, "_take_batch", fail)
    with caplog.at_level(logging.CRITICAL + 1):
        stream = made.open(OPTIONS, lambda outcome: results.put((0, outcome)))
        made.start()
        stream.submit(segment(silence(0.1)))
        lost = results.get(timeout=20)[1]
    assert isinstance(lost, Lost)
    assert "a fault of ours" in lost.reason
    made.stop()


def test_a_step_too_large_for_the_device_is_taken_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = FakeRecognizer(roomy=1)
    made = engine(recognizer)
    callers = [Caller(made) for _ in range(3)]
    with caplog.at_level(logging.CRITICAL):
        for caller in callers:
            caller.say(silence(0.3))
        run(made)
    assert [caller.final.text for caller in callers] == [spoken(4800)] * 3
    assert made.lost is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeviceLostError("an illegal memory access"), "an illegal memory access"),
        (DeviceMemoryError("12 GB short"), "12 GB short"),
    ],
)
def test_when_the_device_fails_everybody_is_told_and_nobody_is_taken(
    error: Exception, reason: str, results: queue.SimpleQueue[tuple[int, Outcome]], caplog: pytest.LogCaptureFixture
) -> None:
    recognizer = FakeRecognizer()
    made = Engine(recognizer, EngineSettings())
    made.start()
    speaking = made.open(OPTIONS, lambda outcome: results.put((0, outcome)))
    made.open(OPTIONS, lambda outcome: results.put((1, outcome)))  # says nothing, and is told as well
    recognizer.error = error
    with caplog.at_level(logging.CRITICAL + 1):
        speaking.submit(segment(silence(0.1)))
        told = dict(results.get(timeout=20) for _ in range(2))
    assert all(isinstance(outcome, Lost) and reason in outcome.reason for outcome in told.values())
    assert sorted(told) == [0, 1]
    assert not made.is_alive
    with pytest.raises(EngineLostError, match=reason):
        made.open(OPTIONS, lambda outcome: None)
    speaking.submit(segment(silence(0.1), number=1, start=1600))  # too late, and harmless
    speaking.close()
    made.stop()
    assert results.empty()
