"""The mel spectrogram that Resemblyzer's encoder hears: 40 bands, 25 ms windows, every 10 ms. No logarithm.

As librosa computes it, whose figures the encoder was trained on: a Hann window around each frame's middle (so that the
first and the last reach half a window into silence), the power spectrum of 400 points, and triangles of equal area on
Slaney's mel scale: linear up to 1 kHz, logarithmic above.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
WINDOW: Final = 400
HOP: Final = 160
BANDS: Final = 40

_LINEAR_HZ: Final = 200 / 3
"""Of one mel, up to the corner."""
_CORNER_HZ: Final = 1000.0
_CORNER_MEL: Final = _CORNER_HZ / _LINEAR_HZ
_STEP: Final = math.log(6.4) / 27
"""Logarithm of the ratio that is one mel above the corner."""


def mel_spectrogram(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power ``[1 + n // 160, 40] float32`` of ``n`` samples of mono audio at 16 kHz."""
    padded = np.pad(samples.astype(np.float32), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * _HANN)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return power @ _TRIANGLES


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _CORNER_HZ * np.exp(_STEP * (mel - _CORNER_MEL))
    return np.where(mel < _CORNER_MEL, mel * _LINEAR_HZ, above)


def _triangles() -> NDArray[np.float32]:
    """``[201, 40]``: how much of each bin of the spectrum belongs to each band."""
    highest = _CORNER_MEL + math.log(SAMPLE_RATE / 2 / _CORNER_HZ) / _STEP
    edges = _hertz(np.linspace(0, highest, BANDS + 2))
    bins = np.arange(WINDOW // 2 + 1)[:, None] * SAMPLE_RATE / WINDOW
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    heights = 2 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * heights, np.float32)


_HANN: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
_TRIANGLES: Final = _triangles()
