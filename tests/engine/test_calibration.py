"""What is found out about a recognizer before anybody has called; the steps take as long as the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from stream_server.engine.calibration import CLIP_SEC, LONGEST_STEP_SEC, StepCost, calibrate, voice
from stream_server.engine.recognizer import Task
from stream_server.engine.slots import SlotPool
from stream_server.engine.work import SAMPLE_RATE, Hypothesis
from tests.engine.stepping import Clock
from tests.support.fake import INFO, FakeRecognizer


@dataclass
class Timed(FakeRecognizer):
    """``takes``: seconds of a step, by the number of its tasks."""

    clock: Clock = field(default_factory=Clock)
    takes: Callable[[int], float] = lambda tasks: 0.1

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        self.clock.now += self.takes(len(tasks))
        return super().step(tasks)


def calibrated(takes: Callable[[int], float], **info: int) -> tuple[StepCost, list[int]]:
    """The cost, and the sizes of the batches."""
    made = Timed(info=replace(INFO, **info), takes=takes)
    slots = SlotPool(1000)
    cost = calibrate(made, slots, made.clock)
    assert slots.taken == 0
    return cost, [len(batch) for batch in made.batches]


def test_a_device_that_likes_large_batches() -> None:
    cost, sizes = calibrated(lambda tasks: 0.02 + 0.0001 * tasks, max_batch=64, max_step_samples=10**9)
    assert sizes == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64]
    assert cost.fixed == pytest.approx(0.02)
    assert cost.per_second == pytest.approx(0.0001 / CLIP_SEC)
    assert cost.most_audio == 64 * CLIP_SEC
    assert cost.share(CLIP_SEC) == pytest.approx((0.02 / 64 + 0.0001) / 0.0201), "alone it is dear, together it is not"
    assert cost.share(64 * CLIP_SEC) == pytest.approx(1.0)


def test_a_device_that_gains_nothing_by_batches() -> None:
    cost, sizes = calibrated(lambda tasks: 0.05 * tasks, max_batch=64, max_step_samples=10**9)
    assert sizes == [1, 1, 2, 2], "and takes no memory for more"
    assert cost.fixed == pytest.approx(0.0, abs=1e-9)
    assert cost.at_best == pytest.approx(0.05 / CLIP_SEC)


def test_a_model_that_is_slow_is_not_tried_for_long() -> None:
    cost, sizes = calibrated(lambda tasks: 2.0 + 0.1 * tasks, max_batch=64)
    assert sizes == [1, 1]
    assert cost.at_best == pytest.approx(2.1 / CLIP_SEC)


def test_a_step_is_not_to_take_too_long() -> None:
    cost, _ = calibrated(lambda tasks: 0.1 + 0.05 * tasks, max_batch=64, max_step_samples=10**9)
    assert cost.seconds(cost.most_audio) <= LONGEST_STEP_SEC + 1e-9


def test_a_streaming_model_is_given_chunks() -> None:
    made = Timed(info=replace(FakeRecognizer.streaming(chunks=(1280, 8960)).info))
    cost = calibrate(made, SlotPool(4), made.clock)
    assert {chunk for chunk, _ in made.openings} == {8960}
    assert max(len(batch) for batch in made.batches) == 4, "there are no more slots"
    assert cost.most_audio == 4 * 8960 / SAMPLE_RATE


def test_the_sound_is_finite_and_neither_silent_nor_clipped() -> None:
    sound = voice(SAMPLE_RATE)
    assert sound.dtype == np.float32
    assert 0.01 < np.sqrt(np.mean(sound**2)) < np.max(np.abs(sound)) <= 1.0
