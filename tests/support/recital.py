"""A real recording with known sentences: clauses of *A Tale of Two Cities* from the wheel of the embedded model, with
longer pauses than the reader made, so that each comes as a segment of its own. It knows no recognizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stream_server.recording import SAMPLE_RATE, find_demo, read_pcm, write_wav

LEAD_SEC: Final = 1.0
PAUSE_SEC: Final = 1.3
SILENCE_SEC: Final = 90.0
"""How long a microphone that plays a recital is still open after it."""
_QUIET: Final = (0.65, 1.1)
"""Where the recording is silent: what lies under the reader's voice is in the pauses as well."""
_SPANS: Final = (
    (1.15, 4.65, "It was the best of times, it was the worst of times"),
    (4.9, 8.3, "it was the age of wisdom, it was the age of foolishness"),
    (8.7, 12.95, "it was the epoch of belief, it was the epoch of incredulity"),
    (13.3, 16.75, "it was the season of light, it was the season of darkness"),
)


@dataclass(frozen=True)
class Recital:
    """``pcm``: int16, mono, 16 kHz. ``starts``: the second in which each sentence begins."""

    pcm: bytes
    sentences: tuple[str, ...]
    starts: tuple[float, ...]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / SAMPLE_RATE

    def write(self, path: Path, *, silence: float = 0.0) -> Path:
        """As a WAV file, with so many seconds of silence behind it."""
        write_wav(path, self.pcm + _silence(silence))
        return path


def recital(sentences: int) -> Recital:
    """The first so many sentences, about five seconds each; four at most.

    Raises:
        RecordingError: the recording is not installed.
    """
    pcm, starts = _silence(LEAD_SEC), []
    for start, end, _ in _SPANS[:sentences]:
        starts.append(len(pcm) / 2 / SAMPLE_RATE)
        pcm += _cut(start, end) + _silence(PAUSE_SEC)
    return Recital(pcm, tuple(text for _, _, text in _SPANS[:sentences]), tuple(starts))


def _cut(start: float, end: float) -> bytes:
    return read_pcm(find_demo(), end)[2 * round(start * SAMPLE_RATE) :]


def _silence(seconds: float) -> bytes:
    quiet = np.frombuffer(_cut(*_QUIET), "<i2")
    return np.resize(np.concatenate([quiet, quiet[::-1]]), round(seconds * SAMPLE_RATE)).tobytes()
