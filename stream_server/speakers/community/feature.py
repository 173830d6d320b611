"""Kaldi's log mel filter bank, which the embedding model hears: 80 bands, 25 ms windows, every 10 ms.

As in `kaldi/src/feat`: frames within the audio only, mean removed, pre-emphasis 0.97, Hamming window, power spectrum of
512 points, triangles evenly spaced on the mel scale from 20 Hz to 8 kHz; no dither, no energy. Pure numpy.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
WINDOW: Final = 400
HOP: Final = 160
BANDS: Final = 80
_POINTS: Final = 512
_LOWEST, _HIGHEST = 20.0, 8000.0
_EMPHASIS: Final = 0.97
_SCALE: Final = 32_768  # Kaldi counts samples in 16-bit steps
_FLOOR: Final = float(np.finfo(np.float32).eps)


def filter_bank(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features ``[frames, 80] float32`` of mono audio at 16 kHz; no frame for less than 25 ms."""
    if len(samples) < WINDOW:
        return np.zeros((0, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP].astype(np.float32) * _SCALE
    frames -= frames.mean(axis=1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), axis=1)
    spectrum = np.fft.rfft((frames - _EMPHASIS * before) * _HAMMING, _POINTS)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    features: NDArray[np.float32] = np.log(np.maximum(power[:, :-1] @ _TRIANGLES, _FLOOR))
    return features


def _mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return 1127 * np.log(1 + np.asarray(hertz) / 700)


def _triangles() -> NDArray[np.float32]:
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BANDS + 2)
    bins = _mel(np.arange(_POINTS // 2) * SAMPLE_RATE / _POINTS)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


_HAMMING: Final = np.hamming(WINDOW).astype(np.float32)
_TRIANGLES: Final = _triangles()
