"""Long recordings made of short ones, written to a file piece by piece. It does not know what is done with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from bench.corpus import SAMPLE_RATE, Clip
from stream_server.recording import write_wav

Samples = NDArray[np.int16]

SPEECH_SEC: Final = 60.0  # of speech, and then a long silence
SILENCE_SEC: Final = 30.0
GAP_SEC: Final = 0.6  # between two recordings, as between two sentences
TRACK_GAP_SEC: Final = 1.0  # just long enough to end a segment


@dataclass(frozen=True, slots=True)
class Tape:
    """A FLAC file of ``seconds``, and what is said in it (empty where that is unknown)."""

    path: Path
    seconds: float
    reference: str = ""


def write_joined(path: Path, clips: Sequence[Clip], gap_sec: float, *, start_ms: int = 0) -> Tape:
    """The recordings one after the other with silence behind each; ``start_ms`` of the start of each are left out."""

    def pieces() -> Iterator[Samples]:
        for clip in clips:
            yield clip.audio[start_ms * SAMPLE_RATE // 1000 :]
            yield _silence(gap_sec)

    return Tape(path, _write(path, pieces()), " ".join(clip.reference or "" for clip in clips))


def write_track(path: Path, clips: Sequence[Clip]) -> Path:
    """All recordings with a second of silence behind each, as a WAV file: what the load generator plays."""
    gap = _silence(TRACK_GAP_SEC).tobytes()
    write_wav(path, b"".join(clip.audio.tobytes() + gap for clip in clips))
    return path


def write_long(path: Path, clips: Sequence[Clip], seconds: float) -> Tape:
    """Exactly ``seconds``: the recordings in a loop, and after every minute of them half a minute of silence."""
    return Tape(path, _write(path, _cut(_with_silences(clips), round(seconds * SAMPLE_RATE))))


def _with_silences(clips: Sequence[Clip]) -> Iterator[Samples]:
    """Without end."""
    spoken = 0.0
    while True:
        for clip in clips:
            yield clip.audio
            spoken += clip.seconds
            yield _silence(GAP_SEC if spoken < SPEECH_SEC else SILENCE_SEC)
            spoken %= SPEECH_SEC


def _cut(pieces: Iterable[Samples], samples: int) -> Iterator[Samples]:
    for piece in pieces:
        yield piece[:samples]
        samples -= len(piece)
        if samples <= 0:
            return


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def _write(path: Path, pieces: Iterable[Samples]) -> float:
    """Seconds written; no more of the file than a piece is ever in memory."""
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        samples = 0
        for piece in pieces:
            file.write(piece)
            samples += len(piece)
    return samples / SAMPLE_RATE
