"""How much room the device has: what was measured goes in, with its time, and how full it would be comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.calibration import StepCost
from stream_server.engine.capacity import COST_MEMORY, FREE_STREAMS, IDLE_SHARE, LATE_SEC, TARGET, Capacity
from stream_server.engine.recognizer import Kind
from stream_server.engine.scheduler import Job
from stream_server.engine.work import SAMPLE_RATE, Priority

COST = 0.007
"""Seconds of the device for a second of speech: a hundred callers who speak all the time."""
MOST = round(TARGET / COST)


def linear(cost: float = COST) -> StepCost:
    return StepCost(0.0, cost, 40.0)


@dataclass
class Machine:
    """A device and its callers, a quarter of a second at a time. ``really``: what a second of speech takes."""

    capacity: Capacity = field(default_factory=Capacity)
    really: float = COST
    talk: float = 1.0  # share of the callers who speak
    now: float = 0.0
    streams: int = 0

    def admit(self, wanted: int) -> int:
        """Callers who come at once; returns how many get in."""
        admitted = 0
        for _ in range(wanted):
            if self.capacity.filled(self.now, 1) <= 1:
                self.capacity.come()
                admitted += 1
        self.streams += admitted
        return admitted

    def leave(self, number: int) -> None:
        for _ in range(number):
            self.capacity.go()
        self.streams -= number

    def run(self, seconds: float, late: float = 0.0) -> None:
        for _ in range(round(4 * seconds)):
            self.now += 0.25
            speech = 0.25 * self.streams * self.talk
            if speech:
                self.capacity.record(self.now, speech * self.really, [final(speech, self.now - late)])
            self.capacity.look(self.now, round(self.streams * self.talk), late)


def final(seconds: float, deadline: float, kind: Kind = Kind.FINAL, priority: Priority = Priority.LIVE) -> Job:
    return Job("any", kind, 0, 0, round(seconds * SAMPLE_RATE), deadline, priority)


def machine(**fields: float) -> Machine:
    made = Machine(**fields)  # type: ignore[arg-type]
    made.capacity.calibrated(linear(), previews=False)
    return made


def test_a_crowd_is_held_to_the_estimate_before_anything_of_it_is_heard() -> None:
    assert machine().admit(300) == pytest.approx(MOST, abs=1)


def test_one_after_the_other_as_many_get_in_as_at_once() -> None:
    made = machine()
    for _ in range(300):
        made.admit(1)
        made.run(0.5)
    assert made.streams == pytest.approx(MOST, rel=0.05)


def test_live_callers_correct_the_calibration_either_way() -> None:
    for really in (COST / 2, 2 * COST):
        made = machine(really=really)
        made.admit(20)
        made.run(4 * COST_MEMORY)
        made.admit(1000)
        assert made.streams == pytest.approx(TARGET / really, rel=0.05)


def test_callers_who_are_silent_half_of_the_time_leave_room() -> None:
    made = machine(talk=0.5)
    made.admit(300)
    assert made.streams == pytest.approx(MOST, abs=1)
    for _ in range(20):
        made.run(10.0)
        made.admit(300)
    assert made.streams == pytest.approx(2 * MOST, rel=0.05)


def test_those_who_are_silent_may_speak_in_a_moment() -> None:
    made = machine(talk=0.0)
    for _ in range(50):
        made.admit(1000)
        made.run(10.0)
    assert made.streams == pytest.approx(MOST / IDLE_SHARE, rel=0.02)


def test_who_goes_makes_room_at_once() -> None:
    made = machine()
    made.admit(300)
    made.run(30.0)
    assert made.admit(50) <= 2
    made.leave(50)
    assert made.admit(300) == pytest.approx(50, abs=2)


def test_a_few_are_let_in_whatever_is_known() -> None:
    made = machine(really=10.0)
    made.capacity.calibrated(linear(10.0), previews=True)
    assert made.admit(100) == FREE_STREAMS
    made.run(5.0, late=3.0)
    made.leave(1)
    assert made.admit(1) == 1


def test_nobody_gets_in_while_finals_wait_and_the_door_does_not_flutter() -> None:
    made = machine()
    made.admit(50)
    made.run(2.0, late=1.0)
    assert made.capacity.occupancy(made.now).late_sec >= 1.0
    opened = []
    for _ in range(40):
        made.run(0.25)
        opened.append(made.capacity.filled(made.now, 1) <= 1)
    assert not opened[0], "one look without a late final is not enough"
    assert opened[-1]
    assert opened == sorted(opened), "it opens once"


def test_who_comes_when_a_late_crowd_has_left_gets_in() -> None:
    made = machine()
    made.admit(80)
    made.run(5.0, late=2.0)
    assert made.admit(1) == 0
    made.leave(80)
    assert made.admit(50) == 50


def test_without_a_calibration_live_callers_tell() -> None:
    made = Machine()
    assert made.capacity.occupancy(0.0).cost is None
    made.admit(50)
    assert made.streams == 50
    made.run(10.0)
    assert made.capacity.occupancy(made.now).cost == pytest.approx(COST)
    made.admit(300)
    assert made.streams == pytest.approx(MOST, rel=0.05)


def test_a_short_step_is_taken_for_what_it_would_have_cost_in_a_full_one() -> None:
    """On a card a single caller keeps the device as busy as a hundred do, and yet there is room for them."""
    steps = StepCost(0.02, 0.001, 100.0)
    made = Capacity()
    made.calibrated(steps, previews=False)
    made.come()
    for at in range(1, 2000):
        made.record(0.1 * at, steps.seconds(0.1), [final(0.1, 0.1 * at)])
    assert made.cost == pytest.approx(steps.at_best, rel=0.01)


def test_work_on_files_and_partials_is_no_need() -> None:
    made = Capacity()
    made.calibrated(linear(), previews=False)
    before = made.cost
    made.record(1.0, 5.0, [final(10.0, -100.0, priority=Priority.BATCH)])
    made.record(2.0, 5.0, [final(10.0, -100.0, Kind.STEP), final(10.0, -100.0, Kind.PARTIAL)])
    assert made.cost == before
    assert made.occupancy(2.0).late_sec == 0.0


def test_of_a_step_with_chunks_of_files_the_live_part_counts() -> None:
    chunk = Job("a", Kind.STEP, 0, 0, SAMPLE_RATE, 0.0, Priority.LIVE, chunk=SAMPLE_RATE)
    other = Job("b", Kind.STEP, 0, 0, SAMPLE_RATE, 0.0, Priority.BATCH, chunk=SAMPLE_RATE)
    alone, beside = Capacity(), Capacity()
    for made, jobs in ((alone, [chunk]), (beside, [chunk, other])):
        made.calibrated(linear(), previews=False)
        made.record(0.0, 0.02 * len(jobs), jobs)
    assert alone.cost == beside.cost


def test_a_moment_in_which_the_machine_stood_still_does_not_shut_the_door() -> None:
    made = machine()
    made.admit(20)
    made.run(30.0)
    made.capacity.record(made.now, 30.0, [final(1.0, made.now)])
    assert made.capacity.cost == pytest.approx(COST, rel=0.1)


def test_a_final_without_audio_costs_nothing() -> None:
    made = machine()
    made.capacity.record(1.0, 0.01, [final(0.0, 1.0)])
    assert made.capacity.cost == pytest.approx(COST)


moves = st.one_of(
    st.tuples(st.just("come"), st.integers(1, 50)),
    st.tuples(st.just("go"), st.integers(1, 50)),
    st.tuples(st.just("run"), st.floats(0.25, 60)),
    st.tuples(st.just("late"), st.floats(0, 100)),
)


@given(st.lists(moves, max_size=30), st.floats(0, 1), st.floats(1e-6, 10))
def test_whatever_happens_the_figures_make_sense(sequence: list[tuple[str, float]], talk: float, really: float) -> None:
    made = machine(talk=talk, really=really)
    for move, amount in sequence:
        if move == "come":
            made.admit(int(amount))
        elif move == "go":
            made.leave(min(made.streams, int(amount)))
        else:
            made.run(amount if move == "run" else 0.25, late=amount if move == "late" else 0.0)
        seen = made.capacity.occupancy(made.now)
        assert seen.streams == made.streams
        assert -1e-6 <= seen.speaking <= made.streams + 1e-6
        assert seen.cost is not None
        assert seen.cost > 0
        assert seen.utilization is not None
        assert seen.utilization >= 0
        assert 0 <= seen.late_sec <= 2.0
        assert math.isinf(made.capacity.filled(made.now, 1)) == (
            seen.late_sec > LATE_SEC and made.streams >= FREE_STREAMS
        )
    made.leave(made.streams)
    assert made.capacity.filled(made.now, 1) == 0.0, "who has nobody takes somebody"
