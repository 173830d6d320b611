"""Diarizers for tests of the process they run in: one that hears how long audio is and does what some samples say, and
the embedded one."""

from __future__ import annotations

import os
import signal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.diarizer import DiarizerError
from stream_server.speakers.turn import Turn

DIE: Final = 2.0
FAIL: Final = 3.0
STUMBLE: Final = 4.0
"""As first samples of a piece: the process dies, the diarizer says that it has failed, or it has a bug."""


class Hearing:
    """Its one turn is as long as the recording in samples; ``speaker`` tells how many were asked for, the longest
    piece, how many recordings were open at the end, and which process it was."""

    def __init__(self) -> None:
        self.name = "hearing"
        self.open_recordings = 0

    def open(self, num_speakers: int | None = None) -> HearingRecording:
        self.open_recordings += 1
        return HearingRecording(self, num_speakers)


class HearingRecording:
    def __init__(self, diarizer: Hearing, num_speakers: int | None) -> None:
        self._diarizer = diarizer
        self._num_speakers = num_speakers
        self._heard = 0
        self._longest = 0

    def hear(self, samples: NDArray[np.float32]) -> None:
        if samples[0] == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        if samples[0] == FAIL:
            raise DiarizerError("it is too loud")
        if samples[0] == STUMBLE:
            raise ValueError("no such sample")
        self._heard += len(samples)
        self._longest = max(self._longest, len(samples))

    def finish(self) -> tuple[Turn, ...]:
        told = (self._num_speakers, self._longest, self._diarizer.open_recordings, os.getpid())
        return (Turn(0, self._heard, " ".join(map(str, told))),)

    def close(self) -> None:
        self._diarizer.open_recordings -= 1


def fail_to_load() -> Hearing:
    """As a checkpoint that is not there."""
    raise DiarizerError("there is no such model")
