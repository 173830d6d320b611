"""The interface of models that turn a voice into a vector, and what a likeness of two of them means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

SAME: Final = 0.5
"""Confidence from which on two voices are taken for one person's."""


class EmbedderError(Exception):
    """The model cannot be loaded, or the audio is nothing for it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a cosine of two voices means with one model, as measured: the confidence is a logistic curve, one half at
    ``threshold`` and rising with ``slope``."""

    threshold: float
    slope: float

    def confidence(self, cosine: float) -> float:
        """From 0 to 1: how sure it is that both are the same person."""
        return 1 / (1 + math.exp(-self.slope * (cosine - self.threshold)))


class Embedder(Protocol):
    """A model; may be used by several threads."""

    @property
    def name(self) -> str:
        """Of the model and its weights. Vectors of different names are never compared."""

    @property
    def calibration(self) -> Calibration: ...

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The voice in ``samples`` (mono, 16 kHz, one person's speech, a second or more) as a vector of length 1.

        Raises:
            EmbedderError: too short, or the model has failed.
        """
