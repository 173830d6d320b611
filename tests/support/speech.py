"""The embedded model and the recordings in its wheel, each loaded once for all tests."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stream_server.audio.file import read_audio
from stream_server.engine.moonshine.asset import find_assets, find_recording
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings


@cache
def moonshine() -> MoonshineRecognizer:
    """The real recognizer. Streams are apart from each other, so tests may share it."""
    return MoonshineRecognizer(find_assets(), MoonshineSettings())


@cache
def recording(name: str) -> NDArray[np.float32]:
    """``two_cities.wav`` (44 s) or ``beckett.wav`` (10 s): [n] float32 at 16 kHz, not to be written to."""
    samples = np.concatenate([block.mean(axis=0) for block in read_audio(find_recording(name))])
    samples.flags.writeable = False
    return samples


def pcm(samples: NDArray[np.float32]) -> bytes:
    """Samples as int16, for the wire."""
    return np.asarray(np.clip(samples, -1, 1) * 32767, "<i2").tobytes()


def cut_wav(path: Path, seconds: float, *, times: int = 1) -> bytes:
    """The first seconds of a recording as a WAV file, again and again."""
    samples, rate = soundfile.read(path, frames=round(seconds * soundfile.info(path).samplerate), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, times), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
