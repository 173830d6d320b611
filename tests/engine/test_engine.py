"""The engine: stepped by hand where order matters, with its own thread where threads do."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from stream_server.engine.engine import Engine, EngineSettings, EngineStream
from stream_server.engine.planner import STEP_PATIENCE
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError, Kind, Recognizer, Task
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    Audio,
    CloseSegment,
    Command,
    EngineFullError,
    EngineLostError,
    Failure,
    Hypothesis,
    Lost,
    OpenSegment,
    Outcome,
    PauseSegment,
    Result,
    StreamOptions,
    Thinned,
)
from tests.support.fake import FakeRecognizer, spoken
from tests.support.speech import moonshine, recording

OPTIONS = StreamOptions("en")
FAR = 10**9


def segment(audio: Audio, *, number: int = 0, start: int = 0, piece: int = 1600) -> list[Command]:
    """The commands of one whole segment."""
    pieces = [AppendAudio(audio[at : at + piece], FAR) for at in range(0, len(audio), piece)]
    return [OpenSegment(number, start, start), *pieces, CloseSegment(start + len(audio))]


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """A stream and what came back for it."""

    engine: Engine
    options: StreamOptions = OPTIONS
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream: EngineStream = self.engine.open(self.options, self.outcomes.append)

    def say(self, audio: Audio, *, number: int = 0, start: int = 0) -> None:
        self.stream.submit(segment(audio, number=number, start=start))

    @property
    def final(self) -> Hypothesis:
        finals = [each for each in self.outcomes if isinstance(each, Result) and each.is_final]
        assert len(finals) == 1
        return finals[0].hypothesis


def engine(recognizer: Recognizer | None = None, clock: Clock | None = None, **settings: float) -> Engine:
    return Engine(recognizer or FakeRecognizer(), replace(EngineSettings(), **settings), clock=clock or Clock())  # type: ignore[arg-type]


def run(made: Engine) -> None:
    while made.step():
        pass


def test_a_segment_becomes_partials_and_one_final() -> None:
    caller = Caller(made := engine())
    caller.say(silence(2.0), start=800)
    run(made)
    results = [each for each in caller.outcomes if isinstance(each, Result)]
    assert [result.is_final for result in results] == [False] * (len(results) - 1) + [True]
    assert [result.end for result in results] == sorted(result.end for result in results)
    assert {(result.segment_id, result.start) for result in results} == {(0, 800)}
    assert caller.final.text == spoken(2 * SAMPLE_RATE)
    assert caller.final.words is not None
    assert caller.final.words[0].start == 800


def test_a_streaming_recognizer_hears_everything_once() -> None:
    recognizer = FakeRecognizer.streaming()
    caller = Caller(made := engine(recognizer))
    caller.say(silence(2.05))
    run(made)
    assert recognizer.batches == [[Kind.STEP]] * 10 + [[Kind.FINAL]]
    assert caller.final.text == spoken(round(2.05 * SAMPLE_RATE))


def test_steps_of_many_streams_are_one_batch() -> None:
    recognizer = FakeRecognizer.streaming()
    made = engine(recognizer)
    for _ in range(3):
        Caller(made).say(silence(0.2))
    run(made)
    assert recognizer.batches == [[Kind.STEP] * 3, [Kind.FINAL] * 3]
    assert made.statistics.steps == 2
    assert made.statistics.jobs == {Kind.STEP: 3, Kind.FINAL: 3, Kind.PREVIEW: 0, Kind.PARTIAL: 0}
    assert made.statistics.audio_seconds == pytest.approx(0.6)


@pytest.mark.parametrize("recognizer", [FakeRecognizer(), FakeRecognizer.streaming()], ids=["segment", "streaming"])
def test_batched_equals_alone(recognizer: FakeRecognizer) -> None:
    lengths = [0.3, 1.0, 1.7, 2.9, 4.4]
    made = engine(recognizer)
    callers = [Caller(made) for _ in lengths]
    for caller, length in zip(callers, lengths, strict=True):
        caller.say(silence(length))
    run(made)
    for caller, length in zip(callers, lengths, strict=True):
        alone = Caller(made)
        alone.say(silence(length))
        run(made)
        assert [each for each in caller.outcomes if isinstance(each, Result) and each.is_final] == [
            each for each in alone.outcomes if isinstance(each, Result) and each.is_final
        ]


def test_batched_equals_alone_with_the_real_model() -> None:
    """Speech of mixed lengths, so that there is padding in the batch; word times and confidence included."""
    recognizer = moonshine()
    speech = recording("two_cities.wav")
    clips = [speech[:24_000], speech[60_000:130_000], speech[200_000:232_000], speech[300_000:420_000]]

    def transcribe(*audios: Audio) -> list[Hypothesis]:
        made = engine(recognizer)
        callers = [Caller(made) for _ in audios]
        for caller, audio in zip(callers, audios, strict=True):
            caller.say(audio)
        run(made)
        return [caller.final for caller in callers]

    together = transcribe(*clips)
    assert all(hypothesis.text for hypothesis in together)
    for clip, batched in zip(clips, together, strict=True):
        (alone,) = transcribe(clip)
        assert batched.text == alone.text
        assert batched.words is not None
        assert alone.words is not None
        assert [word.start for word in batched.words] == [word.start for word in alone.words]
        assert batched.confidence == pytest.approx(alone.confidence, abs=0.02)


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


def test_a_stream_closed_while_queued_costs_nothing() -> None:
    recognizer = FakeRecognizer()
    made = engine(recognizer)
    gone, stays = Caller(made), Caller(made)
    for caller in (gone, stays):
        caller.say(silence(0.2))
    gone.stream.close()
    gone.stream.close()
    run(made)
    assert gone.outcomes == []
    assert len(stays.outcomes) == 1
    assert recognizer.batches == [[Kind.FINAL]]
    assert made.streams == 1
    gone.say(silence(0.2), number=1)  # too late, and no error
    assert made.waiting == 0


class Interrupted(FakeRecognizer):
    """Something happens while a step runs."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        self.meanwhile()
        return super().step(tasks)


def test_a_result_for_a_stream_that_has_gone_is_dropped_and_counted() -> None:
    recognizer = Interrupted()
    made = engine(recognizer, max_streams=1)
    first = Caller(made)
    recognizer.meanwhile = first.stream.close
    first.say(silence(0.2))
    made.step()
    recognizer.meanwhile = lambda: None
    assert first.outcomes == []
    assert made.statistics.stale == 1
    second = Caller(made)
    assert second.stream.slot.index == first.stream.slot.index
    second.say(silence(0.2))
    run(made)
    assert second.final.text == spoken(3200)


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


def test_a_full_engine_says_so() -> None:
    made = engine(max_streams=1)
    first = Caller(made)
    with pytest.raises(EngineFullError):
        Caller(made)
    first.stream.close()
    Caller(made)


def test_a_sender_is_behind_while_its_audio_waits_for_finals() -> None:
    caller = Caller(made := engine(max_backlog_sec=1.0))
    caller.say(silence(0.8))
    assert not caller.stream.is_behind
    caller.say(silence(0.8), number=1, start=12_800)
    assert caller.stream.is_behind
    run(made)
    assert not caller.stream.is_behind


def test_an_overloaded_engine_drops_steps_and_says_so_but_keeps_finals() -> None:
    clock = Clock()
    recognizer = FakeRecognizer()
    caller = Caller(made := engine(recognizer, clock))
    caller.say(silence(3.0))
    clock.now = 3.0 + STEP_PATIENCE + 1
    run(made)
    assert recognizer.batches == [[Kind.FINAL]]
    assert caller.outcomes[0] == Thinned()
    assert caller.final.text == spoken(3 * SAMPLE_RATE)
    assert made.thinned > 0


def test_a_sender_faster_than_real_time_loses_no_step() -> None:
    """Promise 4 hangs on it: what is committed must not depend on how fast the audio came."""
    clock = Clock()
    recognizer = FakeRecognizer()
    caller = Caller(made := engine(recognizer, clock))
    caller.say(silence(30.0))
    while made.step():
        clock.now += 0.2  # two and a half times as fast as real time
    assert Thinned() not in caller.outcomes
    assert sum(batch == [Kind.STEP] for batch in recognizer.batches) == 60
    assert caller.final.text == spoken(30 * SAMPLE_RATE)


@pytest.fixture
def results() -> queue.SimpleQueue[tuple[int, Outcome]]:
    return queue.SimpleQueue()


@pytest.mark.parametrize("kind", ["segment", "streaming"])
def test_many_streams_on_the_device_thread(kind: str, results: queue.SimpleQueue[tuple[int, Outcome]]) -> None:
    recognizer = FakeRecognizer() if kind == "segment" else FakeRecognizer.streaming()
    made = Engine(recognizer, EngineSettings())
    made.start()
    assert made.is_alive
    seconds = [0.3 + 0.1 * (number % 7) for number in range(40)]

    def submit(numbers: range) -> None:
        for number in numbers:
            stream = made.open(OPTIONS, lambda outcome, number=number: results.put((number, outcome)))  # type: ignore[misc]
            for command in segment(silence(seconds[number])):
                stream.submit([command])

    threads = [threading.Thread(target=submit, args=(range(first, 40, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    finals: dict[int, str] = {}
    while len(finals) < 40:
        number, outcome = results.get(timeout=20)
        assert isinstance(outcome, Result)
        assert number not in finals, "nothing comes after the final"
        if outcome.is_final:
            finals[number] = outcome.hypothesis.text
    for thread in threads:
        thread.join()
    made.stop()
    assert finals == {number: spoken(round(length * SAMPLE_RATE)) for number, length in enumerate(seconds)}
    assert not made.is_alive
    with pytest.raises(EngineFullError, match="stopping"):
        made.open(OPTIONS, lambda outcome: None)


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


def test_what_says_nothing_new_is_not_delivered() -> None:
    class Silent(FakeRecognizer):
        """Hears nothing, and says so with the same object each time."""

        nothing = Hypothesis("", 0, 0.0, "en")

        def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
            return [self.nothing for _ in tasks]

    caller = Caller(made := engine(Silent(info=FakeRecognizer.streaming().info)))
    for number in range(2):
        caller.say(silence(1.05), number=number, start=number * 16_800)
        run(made)
    # Of each segment the first partial and the final.
    assert [outcome.is_final for outcome in caller.outcomes if isinstance(outcome, Result)] == [False, True] * 2


def test_a_streaming_caller_that_fell_behind_catches_up() -> None:
    """Two seconds late, with a device that takes a quarter of real time: a chunk in every step, until there is none."""
    clock = Clock(10.0)
    recognizer = FakeRecognizer.streaming(chunks=(1280,))
    made = engine(recognizer, clock)
    callers = [Caller(made) for _ in range(3)]
    for caller in callers:
        caller.stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(2.0), FAR)])
    behind, heard = [], 2 * SAMPLE_RATE
    while made.step():
        clock.now += 0.02
        for caller in callers:
            caller.stream.submit([AppendAudio(silence(0.02), FAR)])
        heard += 320
        last = callers[0].outcomes[-1]
        assert isinstance(last, Result)
        behind.append(heard - last.end)
    assert behind == sorted(behind, reverse=True)
    assert behind[-1] < 1280 + 320
    assert all(len(batch) == 3 for batch in recognizer.batches)


def test_an_overloaded_streaming_engine_says_so_loses_nothing_and_holds_the_sender_back() -> None:
    clock = Clock()
    recognizer = FakeRecognizer.streaming(chunks=(1280,))
    caller = Caller(made := engine(recognizer, clock, max_backlog_sec=5.0))
    caller.stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(4.0), FAR)])
    assert not caller.stream.is_behind
    caller.stream.submit([AppendAudio(silence(2.0), FAR)])
    assert caller.stream.is_behind
    clock.now = 6.0 + STEP_PATIENCE + 1
    caller.stream.submit([CloseSegment(6 * SAMPLE_RATE)])
    run(made)
    assert Thinned() in caller.outcomes
    assert made.late > 0
    assert caller.final.text == spoken(6 * SAMPLE_RATE)
    assert not caller.stream.is_behind


def test_who_is_held_back_hears_when_he_may_go_on_even_if_nothing_new_is_said() -> None:
    class Silent(FakeRecognizer):
        nothing = Hypothesis("", 0, 0.0, "en")

        def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
            return [self.nothing for _ in tasks]

    caller = Caller(made := engine(Silent(info=FakeRecognizer.streaming().info), max_backlog_sec=1.0))
    caller.stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(3.0), FAR)])
    signs = 0
    while caller.stream.is_behind:
        before = len(caller.outcomes)
        assert made.step()
        signs += len(caller.outcomes) > before
    assert signs > 5
    assert len(caller.outcomes) > before, "the step with which the debt was paid has been told of"


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


def test_there_are_no_more_streams_than_the_model_holds() -> None:
    made = engine(FakeRecognizer(info=replace(FakeRecognizer().info, max_streams=2)), max_streams=100)
    assert made.max_streams == 2
    callers = [Caller(made) for _ in range(2)]
    with pytest.raises(EngineFullError):
        Caller(made)
    callers[0].stream.close()
    Caller(made)


def test_an_engine_may_be_stopped_before_it_was_started_and_with_work_left() -> None:
    engine().stop()
    gate = threading.Event()
    made = Engine(FakeRecognizer(gate=gate), EngineSettings())
    made.start()
    caller = Caller(made)
    for number in range(10):
        caller.say(silence(0.1), number=number, start=number * 1600)
    gate.set()
    made.stop()
    assert not made.is_alive
    assert len(caller.outcomes) <= 10
