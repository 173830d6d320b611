"""The interface behind which it does not matter which model tells speakers apart."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.turn import Turn


class DiarizerError(Exception):
    """The diarizer cannot be loaded, or has failed; the message says what to do."""


class Diarization(Protocol):
    """One recording on its way. Blocking; one thread at a time."""

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The next piece of the recording: mono, 16 kHz, of any length.

        Raises:
            DiarizerError: the model has failed.
        """

    def finish(self) -> tuple[Turn, ...]:
        """Who spoke when, in order of time: labels ``SPEAKER_00``, ``SPEAKER_01``, ... in order of first speech.

        Raises:
            DiarizerError: the model has failed.
        """

    def close(self) -> None:
        """Free what it holds. Idempotent, and right at any moment: how a recording is given up."""


class Diarizer(Protocol):
    """A model that tells speakers apart; several recordings may be on their way at the same time."""

    @property
    def name(self) -> str: ...

    def open(self, num_speakers: int | None = None) -> Diarization:
        """Begin a recording. ``num_speakers``: how many there are, where the caller knows; otherwise it is found out.

        Raises:
            DiarizerError: the model has failed.
        """
