"""What tells voices apart, without a model: another speaker in every segment, which can turn out to be the same."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.work import SAMPLE_RATE
from stream_server.speakers.live import Analysis, Spoken
from stream_server.speakers.turn import Turn, label_of


def turns_of(start: int, samples: int, speaker: str) -> tuple[Turn, ...]:
    """One speaker in so many samples from ``start`` on."""
    milliseconds = SAMPLE_RATE // 1000
    return (Turn(start // milliseconds, (start + samples) // milliseconds, speaker),)


@dataclass
class FakeVoices:
    """The voices of one channel: as many speakers as there are segments.

    ``revises``: with each segment, the one before turns out to be of the same speaker. ``fails``: the analysis raises.
    ``gate``: an analysis waits for it. ``analysed`` and ``told``: lengths of what was analysed, and ids.
    """

    revises: bool = False
    fails: bool = False
    gate: threading.Event | None = None
    analysed: list[int] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    _before: tuple[int, int, int] | None = None

    def analyse(self, samples: NDArray[np.float32], earlier: Analysis | None = None) -> Analysis:
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.fails:
            raise RuntimeError("the fake was told to fail")
        self.analysed.append(len(samples))
        return Analysis(len(samples), ())

    def tell(self, segment_id: int, start: int, analysis: Analysis) -> Spoken:
        speaker = label_of(len(self.told))
        self.told.append(segment_id)
        before, self._before = self._before, (segment_id, start, analysis.samples)
        revised = {before[0]: turns_of(before[1], before[2], speaker)} if before is not None and self.revises else {}
        return Spoken(turns_of(start, analysis.samples, speaker), revised)
