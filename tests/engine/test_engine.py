"""The engine: stepped by hand where order matters, with its own thread where threads do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.planner import STEP_PATIENCE
from stream_server.engine.recognizer import Kind, Task
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    Audio,
    CloseSegment,
    EngineFullError,
    Hypothesis,
    OpenSegment,
    Outcome,
    Result,
    Thinned,
)
from tests.engine.stepping import FAR, OPTIONS, Caller, Clock, engine, run, segment, silence
from tests.support.fake import FakeRecognizer, spoken
from tests.support.speech import moonshine, recording


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
    assert caller.stream.backlog <= 1
    caller.say(silence(0.8), number=1, start=12_800)
    assert caller.stream.backlog > 1
    run(made)
    assert caller.stream.backlog <= 1


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
    assert caller.stream.backlog <= 1
    caller.stream.submit([AppendAudio(silence(2.0), FAR)])
    assert caller.stream.backlog > 1
    clock.now = 6.0 + STEP_PATIENCE + 1
    caller.stream.submit([CloseSegment(6 * SAMPLE_RATE)])
    run(made)
    assert Thinned() in caller.outcomes
    assert made.late > 0
    assert caller.final.text == spoken(6 * SAMPLE_RATE)
    assert caller.stream.backlog <= 1


def test_who_is_held_back_hears_when_he_may_go_on_even_if_nothing_new_is_said() -> None:
    class Silent(FakeRecognizer):
        nothing = Hypothesis("", 0, 0.0, "en")

        def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
            return [self.nothing for _ in tasks]

    caller = Caller(made := engine(Silent(info=FakeRecognizer.streaming().info), max_backlog_sec=1.0))
    caller.stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(3.0), FAR)])
    signs = 0
    while caller.stream.backlog > 1:
        before = len(caller.outcomes)
        assert made.step()
        signs += len(caller.outcomes) > before
    assert signs > 5
    assert len(caller.outcomes) > before, "the step with which the debt was paid has been told of"


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
