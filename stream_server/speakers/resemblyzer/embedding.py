"""A voice as Resemblyzer hears it: the mean of vectors of overlapping windows of 1.6 s.

Loudness counts here, for the encoder was trained without a logarithm: quiet speech is raised to the level it knows.
Silence is left in: whoever asks has cut it away.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.moonshine.builder import open_session
from stream_server.speakers.embedder import Calibration, EmbedderError
from stream_server.speakers.resemblyzer.asset import FILE, SHA256, find_weights
from stream_server.speakers.resemblyzer.feature import HOP, mel_spectrogram
from stream_server.speakers.resemblyzer.network import build_network
from stream_server.speakers.resemblyzer.weight import WeightError, read_weights
from stream_server.speakers.vector import require_length, unit

FRAMES: Final = 160
"""Of a window."""
STEP: Final = 77
"""Frames from one window to the next: 1.3 windows a second, as Resemblyzer has it."""
COVERED: Final = 0.75
"""Share of the last window that has to be speech; less is left out."""
LEVEL_DBFS: Final = -30.0
MOST: Final = 64
"""Windows in one run of the network, which bounds its memory."""


class ResemblyzerEmbedder:
    """See `Embedder`. May be used by several threads."""

    name = f"{FILE.removesuffix('.pt')}-{SHA256[:8]}"
    calibration = Calibration(threshold=0.78, slope=39.0)
    """As measured by ``bench.identification``: the least at which nine of ten people who are not enrolled are unknown,
    by telephone too."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """``folder``: where the weights are kept, or are to be.

        Raises:
            EmbedderError: they cannot be had.
        """
        try:
            weights = read_weights(find_weights(folder), "model_state")
        except WeightError as error:
            raise EmbedderError(f"{FILE} cannot be read: {error}") from error
        self._session = open_session(build_network(weights), threads)

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        require_length(samples)
        count = window_count(len(samples))
        end = ((count - 1) * STEP + FRAMES) * HOP
        mel = mel_spectrogram(np.pad(_raised(samples), (0, max(0, end - len(samples)))))
        windows = np.lib.stride_tricks.sliding_window_view(mel, FRAMES, axis=0)[::STEP][:count].transpose(0, 2, 1)
        total: NDArray[np.float32] = np.zeros((), np.float32)
        for start in range(0, count, MOST):
            (vectors,) = self._session.run(None, {"mels": np.ascontiguousarray(windows[start : start + MOST])})
            total = total + vectors.sum(axis=0)
        return unit(total)


def window_count(samples: int) -> int:
    """How many windows there are in so much audio: as many as begin in it, but for a last one that is mostly empty."""
    frames = math.ceil((samples + 1) / HOP)
    count = len(range(0, max(1, frames - FRAMES + STEP + 1), STEP))
    covered = (samples / HOP - (count - 1) * STEP) / FRAMES
    return count - 1 if covered < COVERED and count > 1 else count


def _raised(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brought to the level that the encoder knows; what is louder stays so."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    aim = 10 ** (LEVEL_DBFS / 20)
    return samples if level == 0 or level >= aim else samples * np.float32(aim / level)
