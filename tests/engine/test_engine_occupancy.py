"""What the engine tells of its own load, and whose turn it is among those who wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stream_server.engine.capacity import FREE_STREAMS
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.recognizer import DeviceLostError, Task
from stream_server.engine.work import (
    AppendAudio,
    CloseSegment,
    Hypothesis,
    Lost,
    OpenSegment,
    Priority,
    Result,
    Thinned,
)
from tests.engine.stepping import FAR, OPTIONS, Caller, Clock, engine, run, silence
from tests.support.fake import INFO, FakeRecognizer

FILE = replace(OPTIONS, priority=Priority.BATCH)


@dataclass
class Working(FakeRecognizer):
    """A step takes ``pace`` seconds for every second of its audio."""

    clock: Clock | None = None
    pace: float = 0.1

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        assert self.clock is not None
        self.clock.now += self.pace * sum(len(task.audio) for task in tasks) / 16_000
        return super().step(tasks)


def test_live_streams_count_and_files_do_not() -> None:
    made = engine()
    live, file = Caller(made), Caller(made, FILE)
    assert made.occupancy().streams == 1
    file.say(silence(5.0))
    run(made)
    assert made.occupancy().cost is None
    live.stream.close()
    live.stream.close()
    assert made.occupancy().streams == 0
    file.stream.close()
    assert made.occupancy().streams == 0


def test_finals_make_the_cost_known() -> None:
    clock = Clock()
    made = engine(Working(clock=clock, pace=0.2), clock)
    caller = Caller(made, replace(OPTIONS, partial_samples=None))
    for number in range(20):
        caller.say(silence(3.0), number=number, start=48_000 * number)
        run(made)
    cost = made.occupancy().cost
    assert cost is not None
    assert abs(cost - 0.2) < 0.01


def test_who_speaks_is_seen_by_his_open_segment() -> None:
    clock = Clock()
    made = engine(clock=clock)
    callers = [Caller(made) for _ in range(10)]
    for caller in callers[:4]:
        caller.stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(0.1), FAR)])
    made.occupancy()
    clock.now = 100.0
    assert abs(made.occupancy().speaking - 4) < 0.1


def test_a_final_that_waits_is_seen_without_a_step() -> None:
    clock = Clock()
    made = engine(clock=clock)
    callers = [Caller(made) for _ in range(FREE_STREAMS + 1)]
    callers[0].say(silence(1.0))
    assert made.filled(1) <= 1
    clock.now = 3.0
    assert made.filled(1) > 1
    run(made)
    clock.now = 30.0
    assert made.filled(1) <= 1


def test_it_is_measured_before_it_is_ready() -> None:
    recognizer = FakeRecognizer()
    made = Engine(recognizer, EngineSettings())
    made.start(measured=True)
    try:
        assert recognizer.batches
        assert made.occupancy().most_streams is not None
        assert made.streams == 0
    finally:
        made.stop()


def test_what_cannot_be_measured_does_not_keep_it_from_working() -> None:
    recognizer = FakeRecognizer(fails=True)
    made = Engine(recognizer, EngineSettings())
    made.start(measured=True)
    try:
        assert made.is_alive
        assert made.occupancy().most_streams is None
        assert made.filled(100) == 0.0
    finally:
        made.stop()


def test_a_device_that_is_lost_while_it_is_measured_is_lost() -> None:
    made = Engine(FakeRecognizer(error=DeviceLostError("gone")), EngineSettings())
    made.start(measured=True)
    assert made.lost is not None
    made.stop()


def test_streams_of_a_lost_device_can_be_closed() -> None:
    made = engine(FakeRecognizer(error=DeviceLostError("gone")))
    caller = Caller(made)
    caller.say(silence(1.0))
    run(made)
    assert isinstance(caller.outcomes[-1], Lost)
    caller.stream.close()
    assert made.occupancy().streams == 0


def test_the_few_streams_of_one_owner_do_not_wait_for_the_many_of_another() -> None:
    recognizer = FakeRecognizer(info=replace(INFO, max_batch=2))
    made = engine(recognizer)
    many: list[list[object]] = [[] for _ in range(8)]
    streams = [made.open(replace(OPTIONS, partial_samples=None), each.append, owner="many") for each in many]
    few: list[object] = []
    streams.append(made.open(replace(OPTIONS, partial_samples=None), few.append, owner="few"))
    for stream in streams:
        stream.submit([OpenSegment(0, 0, 0), AppendAudio(silence(1.0), FAR)])
    for stream in streams:
        stream.submit([CloseSegment(16_000)])
    made.step()
    assert isinstance(few[-1], Result)
    assert sum(bool(each) for each in many) == 1


def test_partials_thin_out_for_all_alike() -> None:
    """Twelve callers on a device that can show a third of what they ask for, some of them more eager than others."""
    clock = Clock()
    made = engine(Working(clock=clock, pace=0.08, info=replace(INFO, max_batch=2)), clock)
    eager = [Caller(made, replace(OPTIONS, partial_samples=3_200 if at % 2 else 8_000)) for at in range(12)]
    for caller in eager:
        caller.stream.submit([OpenSegment(0, 0, 0)])
    heard = 0.0
    while heard < 20.0:
        while heard <= clock.now:
            for caller in eager:
                caller.stream.submit([AppendAudio(silence(0.1), FAR)])
            heard += 0.1
        if not made.step():
            clock.now = heard
    shown = [sum(isinstance(each, Result) for each in caller.outcomes) for caller in eager]
    assert made.thinned > 3 * sum(shown) / 2, "it is overloaded"
    assert min(shown) >= 3
    assert max(shown) - min(shown) <= 2
    assert all(any(isinstance(each, Thinned) for each in caller.outcomes) for caller in eager), "and all are told"
