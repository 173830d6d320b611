"""Audio as a telephone carries it: 8 kHz, mu-law. It does not know what is said."""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from stream_server.audio.g711 import ULAW

RATE: Final = 8_000
_ORDER: Final = np.argsort(ULAW, kind="stable")
_LEVELS: Final = ULAW[_ORDER]
_BORDERS: Final = (_LEVELS[1:] + _LEVELS[:-1]) / 2


def limit_band(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """[n] float32 in [-1, 1] at ``rate`` to [m] at 8 kHz: nothing above 4 kHz is left."""
    limited: NDArray[np.float32] = soxr.resample(audio, rate, RATE)
    return limited.clip(-1, 1).astype(np.float32)


def widen_band(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """8 kHz back to ``rate``; what was above 4 kHz stays lost."""
    wide: NDArray[np.float32] = soxr.resample(audio, RATE, rate)
    return wide.clip(-1, 1).astype(np.float32)


def encode(audio: NDArray[np.float32]) -> bytes:
    """[n] float32 in [-1, 1] as mu-law bytes: the code of the nearest level of the server's own decoding table."""
    return _ORDER[np.searchsorted(_BORDERS, audio)].astype(np.uint8).tobytes()
