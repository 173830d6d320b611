"""One thread tells the voices of all callers apart: in turns, in advance where it can, for as many as it has time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from stream_server.engine.calibration import CLIP_SEC
from stream_server.engine.capacity import CALIBRATION_WEIGHT, FREE_STREAMS, TARGET
from stream_server.engine.work import SAMPLE_RATE, AppendAudio, CloseSegment, OpenSegment, PauseSegment
from stream_server.metrics.diarization import DiarizationMetrics
from stream_server.speakers.community.analysis import STEP
from stream_server.speakers.community.network import WINDOW
from stream_server.speakers.live import Analysis, Spoken
from stream_server.transport import diarization
from stream_server.transport.diarization import TRIALS, USUAL_COST, LiveDiarizer
from stream_server.transport.voice import MAX_WAITING, PAUSE_SEC, DiarizedChannel
from tests.support.voices import FakeVoices

CLIP = round(CLIP_SEC * SAMPLE_RATE)
MEASURED = [CLIP] * TRIALS
"""What is analysed to see how long that takes."""


@dataclass
class Room:
    """A diarizer whose thread is held by ``gate``, and what it has answered."""

    fails: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    made: list[FakeVoices] = field(default_factory=list)
    answers: list[tuple[str, int, Spoken | Exception]] = field(default_factory=list)
    progress: int = 0

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.diarizer = LiveDiarizer(self._load, asyncio.get_running_loop(), DiarizationMetrics(self.registry))
        self.order: list[int] = []
        self.earlier: list[int | None] = []

    def _load(self) -> FakeVoices:
        room = self

        class Noted(FakeVoices):
            def analyse(self, samples: NDArray[np.float32], earlier: Analysis | None = None) -> Analysis:
                found = super().analyse(samples)
                room.order.append(len(samples))
                room.earlier.append(earlier.samples if earlier is not None else None)
                return found

        self.made.append(made := Noted(gate=self.gate, fails=self.fails and bool(self.made)))
        return made

    def open(self, name: str = "a") -> DiarizedChannel:
        def answer(segment_id: int, spoken: Spoken | Exception) -> None:
            self.answers.append((name, segment_id, spoken))

        return self.diarizer.open(answer, self._progressed)

    def _progressed(self) -> None:
        self.progress += 1

    @property
    def seen(self) -> list[int]:
        """Lengths of what was analysed, in order, but for the measurement."""
        return [length for length in self.order if length != CLIP]

    def value(self, name: str) -> float:
        value = self.registry.get_sample_value(f"stream_server_diarization_{name}")
        assert value is not None, name
        return value


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    made = Room()
    yield made
    made.gate.set()
    made.diarizer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def quiet() -> None:
    """Long enough for what should not happen to have happened."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def hear(channel: DiarizedChannel, segment: int, samples: int, start: int = 0) -> None:
    channel.receive(OpenSegment(segment, start, start), 0.0)
    channel.receive(AppendAudio(np.zeros(samples, np.float32), start), 0.0)


def pause(channel: DiarizedChannel) -> None:
    channel.receive(PauseSegment(), asyncio.get_running_loop().time())


def close(channel: DiarizedChannel, end: int) -> None:
    channel.receive(CloseSegment(end), asyncio.get_running_loop().time())


async def test_a_segment_is_analysed_and_told_once_its_final_is_there(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    hear(channel, 0, 8000, start=16_000)
    close(channel, 24_000)
    await until(lambda: room.seen == [8000])
    await quiet()
    assert room.answers == [], "there may be no text in it"
    channel.settle(0, has_text=True)
    await until(lambda: bool(room.answers))
    ((name, segment, spoken),) = room.answers
    assert isinstance(spoken, Spoken)
    assert (name, segment) == ("a", 0)
    assert [(turn.start_ms, turn.end_ms) for turn in spoken.turns] == [(1000, 1500)]


async def test_the_final_may_come_before_the_analysis(room: Room) -> None:
    channel = room.open()
    hear(channel, 0, 8000)
    close(channel, 8000)
    channel.settle(0, has_text=True)
    await quiet()
    assert room.answers == []
    room.gate.set()
    await until(lambda: len(room.answers) == 1)


async def test_a_pause_is_used_and_an_end_without_anything_new_needs_nothing(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    hear(channel, 0, 8000)
    pause(channel)
    await until(lambda: room.seen == [8000])
    close(channel, 8000)
    assert len(channel._segments[0].audio) == 0, "its audio is not kept"
    channel.settle(0, has_text=True)
    await until(lambda: len(room.answers) == 1)
    assert room.seen == [8000]


async def test_a_breath_is_no_pause(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    await until(lambda: room.order == MEASURED)
    hear(channel, 0, 8000)
    now = asyncio.get_running_loop().time()
    channel.receive(PauseSegment(), now)
    assert channel.early(now + PAUSE_SEC - 0.01) is None
    assert channel.early(now + PAUSE_SEC) is not None
    channel.receive(AppendAudio(np.zeros(100, np.float32), 0), 0.0)
    await asyncio.sleep(PAUSE_SEC + 0.05)
    assert room.seen == []


async def test_who_goes_on_for_long_is_analysed_window_by_window(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    await until(lambda: room.order == MEASURED)
    channel.receive(OpenSegment(0, 0, 0), 0.0)
    for _ in range(16):
        channel.receive(AppendAudio(np.zeros(SAMPLE_RATE, np.float32), 0), 0.0)
        await quiet()
    assert room.seen == [WINDOW, WINDOW + STEP], "what will not change any more, and only that"
    close(channel, 16 * SAMPLE_RATE)
    channel.settle(0, has_text=True)
    await until(lambda: len(room.answers) == 1)
    assert room.seen[2:] == [16 * SAMPLE_RATE]
    assert room.earlier[-1] == WINDOW + STEP


async def test_after_a_pause_in_which_speech_went_on_all_of_it_is_analysed(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    hear(channel, 0, 8000)
    pause(channel)
    await until(lambda: room.seen == [8000])
    channel.receive(AppendAudio(np.ones(30_000, np.float32), 0), 0.0)
    close(channel, 38_000)
    channel.settle(0, has_text=True)
    await until(lambda: len(room.answers) == 1)
    assert room.seen == [8000, 38_000]
    assert room.earlier[-1] == 8000, "what was found in advance is made use of"


async def test_an_end_before_what_was_analysed_is_analysed_anew(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    hear(channel, 0, 8000)
    pause(channel)
    await until(lambda: room.seen == [8000])
    close(channel, 7000)
    await until(lambda: room.seen == [8000, 7000])


async def test_a_pause_that_is_over_before_the_thread_has_time_costs_nothing(room: Room) -> None:
    channel = room.open()
    hear(channel, 0, 8000)
    pause(channel)
    channel.receive(AppendAudio(np.zeros(100, np.float32), 0), 0.0)
    room.gate.set()
    await until(lambda: room.order == MEASURED)
    await quiet()
    assert room.seen == []


async def test_who_waits_for_a_final_comes_before_who_pauses_and_each_in_turn(room: Room) -> None:
    first, second, pausing = (room.open(name) for name in ("first", "second", "pausing"))
    hear(pausing, 0, 9000)
    pause(pausing)
    for number in range(3):
        hear(first, number, 1000 + number, start=number * 10_000)
        close(first, number * 10_000 + 1000 + number)
    hear(second, 0, 2000)
    close(second, 2000)
    room.gate.set()
    await until(lambda: len(room.seen) == 5)
    assert room.seen == [1000, 2000, 1001, 1002, 9000]


async def test_answers_of_a_channel_come_in_order_and_a_cough_is_nobody(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    for number in range(4):
        hear(channel, number, 1000 + number, start=number * 10_000)
        close(channel, number * 10_000 + 1000 + number)
    await until(lambda: len(room.seen) == 4)
    channel.settle(0, has_text=True)
    channel.settle(1, has_text=False)
    channel.settle(2, has_text=True)
    channel.settle(3, has_text=True)
    await until(lambda: len(room.answers) == 3)
    assert [segment for _, segment, _ in room.answers] == [0, 2, 3]
    assert [made.told for made in room.made if made.told] == [[0, 2, 3]]


async def test_a_segment_without_text_is_not_analysed_where_that_is_known_in_time(room: Room) -> None:
    channel = room.open()
    hear(channel, 0, 1000)
    close(channel, 1000)
    channel.settle(0, has_text=False)
    room.gate.set()
    await until(lambda: room.order == MEASURED)
    await quiet()
    assert room.seen == []


async def test_what_waits_is_told_and_let_go_of(room: Room) -> None:
    channel = room.open()
    hear(channel, 0, MAX_WAITING)
    assert channel.backlog == 0, "an open segment is no debt"
    close(channel, MAX_WAITING)
    hear(channel, 1, 1600, start=MAX_WAITING)
    close(channel, MAX_WAITING + 1600)
    assert channel.backlog > 1
    assert room.value("waiting_seconds") == pytest.approx(MAX_WAITING / SAMPLE_RATE + 0.1)
    before = room.progress
    room.gate.set()
    await until(lambda: len(room.seen) == 2)
    await until(lambda: room.progress >= before + 2)
    assert channel.backlog == 0
    assert room.value("waiting_seconds") == 0
    assert all(len(segment.audio) == 0 for segment in channel._segments.values()), "its audio is not kept"
    assert room.value("seconds_total") >= 0
    assert room.value("audio_seconds_total") == 0
    channel.settle(0, has_text=True)
    channel.settle(1, has_text=False)
    await until(lambda: len(room.answers) == 1)
    assert room.value("audio_seconds_total") == pytest.approx(MAX_WAITING / SAMPLE_RATE)


async def test_a_closed_channel_is_forgotten_with_its_work(room: Room) -> None:
    gone, staying = room.open("gone"), room.open("staying")
    for channel, length in ((gone, 1000), (staying, 2000)):
        hear(channel, 0, length)
        close(channel, length)
        channel.settle(0, has_text=True)
    gone.close()
    gone.close()
    assert room.value("streams") == 1
    room.gate.set()
    await until(lambda: len(room.answers) == 1)
    assert [name for name, _, _ in room.answers] == ["staying"]
    assert room.seen == [2000]


async def test_a_channel_that_is_closed_while_it_is_analysed_hears_nothing_more(room: Room) -> None:
    room.gate.set()
    channel = room.open()
    await until(lambda: room.order == MEASURED)
    room.gate.clear()
    hear(channel, 0, 1000)
    close(channel, 1000)
    channel.settle(0, has_text=True)
    await until(lambda: len(room.made) == 2)
    channel.close()
    room.gate.set()
    await until(lambda: room.seen == [1000])
    await quiet()
    assert room.answers == []


async def test_a_fault_is_told_to_its_caller_and_the_others_go_on() -> None:
    room = Room(fails=True)
    room.gate.set()
    channel = room.open("failing")
    hear(channel, 0, 1000)
    close(channel, 1000)
    await until(lambda: bool(room.answers))
    assert isinstance(room.answers[0][2], RuntimeError)
    assert room.value("failures_total") == 1
    assert room.value("streams") == 0
    room.fails = False
    other = room.open("other")
    hear(other, 0, 2000)
    close(other, 2000)
    other.settle(0, has_text=True)
    await until(lambda: len(room.answers) == 2)
    assert isinstance(room.answers[1][2], Spoken)
    room.diarizer.close()


async def test_models_that_cannot_be_loaded_end_who_needs_them(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[object] = []

    def broken() -> FakeVoices:
        raise OSError("no such file")

    diarizer = LiveDiarizer(broken, asyncio.get_running_loop(), DiarizationMetrics(CollectorRegistry()))
    channel = diarizer.open(lambda _, spoken: answers.append(spoken), lambda: None)
    hear(channel, 0, 1000)
    close(channel, 1000)
    await until(lambda: bool(answers))
    assert isinstance(answers[0], OSError)
    assert "cannot be measured" in caplog.text
    diarizer.close()


async def test_the_cost_of_speech_is_measured_and_a_pause_in_it_makes_no_more_of_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()
    monkeypatch.setattr(diarization, "perf_counter", lambda: 0.1 * next(ticks))  # everything takes 0.1 s
    room.gate.set()
    channel = room.open()
    await until(lambda: room.order == MEASURED)
    await until(lambda: room.value("real_time_factor") == pytest.approx(0.1 / CLIP_SEC))
    hear(channel, 0, 30 * SAMPLE_RATE)
    pause(channel)
    await until(lambda: len(room.seen) == 1)
    channel.receive(AppendAudio(np.zeros(30 * SAMPLE_RATE, np.float32), 0), 0.0)
    close(channel, 60 * SAMPLE_RATE)
    channel.settle(0, has_text=True)
    await until(lambda: len(room.answers) == 1)
    assert room.value("seconds_total") == pytest.approx(0.3)
    spent, heard = 0.3 + CALIBRATION_WEIGHT * 0.1 / CLIP_SEC, 60 + CALIBRATION_WEIGHT
    assert room.value("real_time_factor") == pytest.approx(spent / heard, rel=0.01)


async def test_as_many_are_let_in_as_the_thread_has_time_for(room: Room) -> None:
    assert room.value("real_time_factor") == USUAL_COST
    most = int(TARGET / USUAL_COST)
    opened = [room.open() for _ in range(most - 1)]
    assert room.diarizer.filled(1) <= 1
    opened.append(room.open())
    assert room.diarizer.filled(1) > 1, "who has come is taken to speak"
    assert room.value("streams") == most
    assert room.value("utilization_ratio") == pytest.approx(most * USUAL_COST)
    for channel in opened[FREE_STREAMS - 1 :]:
        channel.close()
    assert room.diarizer.filled(1) == 0, "so many any machine takes"


async def test_nobody_is_let_in_while_finals_wait_for_it(room: Room) -> None:
    channels = [room.open() for _ in range(FREE_STREAMS)]
    assert room.diarizer.filled(1) <= 1
    now = asyncio.get_running_loop().time()
    hear(channels[0], 0, 1000)
    channels[0].receive(CloseSegment(1000), now - 10)
    channels[0]._segments[0].due = now - 10
    await asyncio.sleep(0.3)  # it looks now and then
    assert room.diarizer.filled(1) == float("inf")
