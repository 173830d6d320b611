"""What every model that embeds voices does alike: it refuses what is too short, and brings its vectors to length 1."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.embedder import EmbedderError

SAMPLE_RATE: Final = 16_000
SHORTEST: Final = SAMPLE_RATE // 4
"""Samples of speech without which a voice cannot be told at all."""


def require_length(samples: NDArray[np.float32]) -> None:
    """Raises EmbedderError for less than `SHORTEST`."""
    if len(samples) < SHORTEST:
        raise EmbedderError(f"{len(samples) / SAMPLE_RATE:.2f} s of speech are too short to tell a voice by")


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector at length 1.

    Raises:
        EmbedderError: it is nothing but zeros, or holds what is no number.
    """
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not 0 < length < np.inf:
        raise EmbedderError("the speaker model finds no voice in this audio")
    return np.asarray(vector / length, np.float32)
