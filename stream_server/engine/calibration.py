"""How long steps of a recognizer take on this machine, measured before anybody has called.

A few decodes of a made-up sound, alone and then in batches that double while that pays, in about a second. What comes
of it is a first estimate: `engine/capacity.py` corrects it by what live callers cost. It knows no queues, no callers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_server.engine.recognizer import Kind, Recognizer, Task
from stream_server.engine.slots import SlotPool
from stream_server.engine.work import SAMPLE_RATE, Audio, StreamOptions

CLIP_SEC: Final = 4.0
"""Length of the clips for a recognizer of the segment kind, about that of a spoken sentence."""

BUDGET_SEC: Final = 1.0
"""No batch is begun after that."""

LONGEST_STEP_SEC: Final = 0.5
"""A step of what callers must have should not take longer: the next final waits for its end."""

GAIN: Final = 0.85
"""Twice as large a batch has to take less than this share of the time for each clip; else larger ones do not pay."""

TRIES: Final = 2
"""Runs of each batch, of which the faster counts: the first one may have had to take memory."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of a step: ``fixed``, and ``per_second`` for each second of audio in it.

    ``most_audio``: seconds of audio in a step as large as it should become.
    """

    fixed: float
    per_second: float
    most_audio: float

    def seconds(self, audio: float) -> float:
        """Of a step with so many seconds of audio."""
        return self.fixed + self.per_second * audio

    @property
    def at_best(self) -> float:
        """Seconds for a second of audio where steps are full."""
        return self.fixed / self.most_audio + self.per_second

    def share(self, audio: float) -> float:
        """How much of such a step's time its audio would take in a full one: under load, steps fill up."""
        return min(1.0, audio * self.at_best / self.seconds(audio))


def calibrate(recognizer: Recognizer, slots: SlotPool, clock: Callable[[], float]) -> StepCost:
    """Decode a little; for the device thread, while no stream is open.

    Raises:
        Exception: whatever the recognizer raises.
    """
    info = recognizer.info
    options = StreamOptions(info.languages[0] if info.languages else "en")
    chunk = info.chunk(options.chunk_samples) if info.kind == "streaming" else 0
    clip = voice(chunk or round(CLIP_SEC * SAMPLE_RATE))
    largest = max(1, min(info.max_batch, slots.size, info.max_step_samples // len(clip)))
    taken = [slots.acquire() for _ in range(largest)]
    began, times = clock(), {}
    number = 0
    try:
        size = 1
        while True:
            runs = []
            for _ in range(TRIES):
                number += 1
                kind = Kind.STEP if chunk else Kind.FINAL
                tasks = [
                    Task(recognizer.new_stream(slot), kind, number, 0, clip, options, chunk) for slot in taken[:size]
                ]
                before = clock()
                recognizer.step(tasks)
                runs.append(clock() - before)
            times[size] = min(runs)
            pays = size == 1 or times[size] / size < GAIN * times[size // 2] / (size // 2)
            if 2 * size > largest or not pays or clock() - began >= BUDGET_SEC or times[size] >= LONGEST_STEP_SEC:
                break
            size *= 2
    finally:
        for slot in taken:
            slots.release(slot)
    return _fit(times, len(clip) / SAMPLE_RATE, largest)


def voice(samples: int) -> Audio:
    """A buzz that rises and falls four times a second as syllables do, [samples] float32: a model for speech takes it
    for some, and writes about as many words."""
    time = np.arange(samples) / SAMPLE_RATE
    pitch = np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) * 2 * np.pi / SAMPLE_RATE
    tones = sum(np.sin(harmonic * pitch) / harmonic for harmonic in range(1, 25))
    return (0.1 * tones * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def _fit(times: dict[int, float], clip_sec: float, largest: int) -> StepCost:
    """The line through the smallest and the largest batch."""
    alone, size = times[1], max(times)
    each = max(0.0, (times[size] - alone) / (size - 1)) if size > 1 else alone
    fixed = max(0.0, alone - each)
    room = (LONGEST_STEP_SEC - fixed) / each if each else largest
    # Beyond what was tried it is a guess, and not a far one.
    clips = max(1.0, min(largest, 2 * size, room))
    return StepCost(fixed, each / clip_sec, clips * clip_sec)
