"""A recording played as if it were live. It does not know where the audio goes."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import numpy as np

from stream_server.audio.file import read_audio

SAMPLE_RATE: Final = 16_000
FRAME_MS: Final = 100
_FRAME_BYTES: Final = SAMPLE_RATE * FRAME_MS // 1000 * 2


class RecordingError(Exception):
    """There is no such recording."""


def find_demo() -> Path:
    """The opening of *A Tale of Two Cities*, 44 s, from the wheel of the embedded model, without importing that.

    Raises:
        RecordingError: the wheel is not installed.
    """
    try:
        files = distribution("moonshine-voice").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "two_cities.wav":
            return Path(str(file.locate()))
    raise RecordingError("the demo recording is missing: moonshine-voice 0.1.0 is not installed; use --file")


def read_pcm(path: Path, seconds: float | None = None) -> bytes:
    """The file (or its first ``seconds``) as int16 mono at 16 kHz.

    Raises:
        UnsupportedAudio: not audio.
        OSError: cannot be opened.
    """
    limit = None if seconds is None else round(seconds * SAMPLE_RATE)
    blocks: list[np.ndarray] = []
    length = 0
    for block in read_audio(path):
        mono = block.mean(axis=0)
        blocks.append((mono * 32767).round().astype("<i2"))
        length += len(mono)
        if limit is not None and length >= limit:
            break
    return np.concatenate(blocks)[:limit].tobytes()


async def play(pcm: bytes) -> AsyncIterator[bytes]:
    """Frames of ``FRAME_MS``, each when its last sample would have been spoken."""
    start = time.monotonic()
    for index, offset in enumerate(range(0, len(pcm), _FRAME_BYTES), 1):
        await asyncio.sleep(max(0.0, start + index * FRAME_MS / 1000 - time.monotonic()))
        yield pcm[offset : offset + _FRAME_BYTES]


def write_wav(path: Path, pcm: bytes) -> None:
    """PCM as from ``read_pcm`` to a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm)
