"""G.711 mu-law and A-law as tables of 256 samples. It does not know about streams.

Source: ITU-T G.711, tables 1a/1b (A-law, 13 bit) and 2a/2b (mu-law, 14 bit), scaled to 16 bit and then to [-1, 1).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_CODES = np.arange(256, dtype=np.int32)


def _ulaw() -> NDArray[np.float32]:
    code = _CODES ^ 0xFF  # every bit is inverted on the line
    segment, step = (code >> 4) & 7, code & 15
    magnitude = (((step << 3) + 132) << segment) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.float32) / np.float32(32768)


def _alaw() -> NDArray[np.float32]:
    code = _CODES ^ 0x55  # every second bit is inverted on the line
    segment, step = (code >> 4) & 7, code & 15
    linear = (step << 4) + 8
    magnitude = np.where(segment == 0, linear, (linear + 256) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.float32) / np.float32(32768)


ULAW: Final = _ulaw()
ALAW: Final = _alaw()
