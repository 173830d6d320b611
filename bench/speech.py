"""Speech without end for any number of streams: one recording, which each stream begins to hear at another place.

Never silence and never zeros: noise lies under it, as zeros are multiplied faster than numbers. Knows no model.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Final

import numpy as np

from stream_server.engine.work import SAMPLE_RATE, Audio

NOISE_DB: Final = -30.0  # against the speech
SYLLABLE_SEC: Final = 0.2
_STEP: Final = 0.6180339887  # of the recording between the places of two streams: spreads them whatever their number


class SpeechError(Exception):
    """The recording cannot be used; the message says why."""


class Speech:
    """``source`` says what it is; ``seconds`` is its length before it begins anew."""

    def __init__(self, recording: Audio, source: str, longest: int) -> None:
        """``longest``: the most samples that are ever taken at once."""
        noise = np.random.default_rng(0).standard_normal(len(recording), dtype=np.float32)
        recording = recording + noise * np.sqrt(np.mean(recording**2)) * 10 ** (NOISE_DB / 20)
        self.source = source
        self.seconds = len(recording) / SAMPLE_RATE
        self._length = len(recording)
        self._audio: Audio = np.resize(recording, len(recording) + longest).astype(np.float32)

    def take(self, stream: int, position: int, count: int) -> Audio:
        """``count`` samples of what the stream hears from ``position`` on; a view."""
        begin = (int(stream * _STEP % 1 * self._length) + position) % self._length
        return self._audio[begin : begin + count]


def load_speech(file: Path | None, longest: int) -> Speech:
    """The recording in ``file`` (WAV, 16 kHz, mono, 16 bit); without one, the reading that comes with the embedded
    model; where that is not installed, syllables made of harmonics.

    Raises:
        SpeechError: the file cannot be used.
    """
    if file is not None:
        return Speech(_read(file), file.name, longest)
    try:
        from bench.corpus import load_wheel
        from stream_server.engine.moonshine.asset import AssetError
    except ImportError:
        return Speech(_syllables(), "synthetic syllables", longest)
    try:
        clip = load_wheel()[0]
    except AssetError:
        return Speech(_syllables(), "synthetic syllables", longest)
    return Speech((clip.audio / 32768).astype(np.float32), clip.name, longest)


def _read(file: Path) -> Audio:
    try:
        with wave.open(str(file)) as recording:
            if (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) != (SAMPLE_RATE, 1, 2):
                raise SpeechError(f"{file} must be 16 kHz, mono, 16 bit")
            samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
    except (OSError, EOFError, wave.Error) as error:
        raise SpeechError(f"{file} cannot be read: {error}") from error
    if len(samples) < SAMPLE_RATE:
        raise SpeechError(f"{file} is shorter than a second")
    return (samples / 32768).astype(np.float32)


def _syllables(seconds: int = 40) -> Audio:
    """Voiced syllables of changing pitch, colour and loudness, some of them pauses."""
    random = np.random.default_rng(1)
    count = int(seconds / SYLLABLE_SEC)
    length = int(SYLLABLE_SEC * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    parts = []
    for _ in range(count):
        pitch, formants = random.uniform(90, 220), random.uniform((300, 900, 2200), (900, 2200, 3400))
        harmonics = pitch * np.arange(1, int(4000 / pitch))
        weights = np.exp(-(((harmonics[:, None] - formants) / 250) ** 2)).sum(axis=1) + 0.02
        voice = (weights[:, None] * np.sin(2 * np.pi * harmonics[:, None] * time)).sum(axis=0)
        loudness = random.uniform(0.2, 1.0) if random.random() < 0.8 else 0.01
        parts.append(loudness * voice * np.hanning(length))
    audio = np.concatenate(parts)
    voiced: Audio = (0.3 * audio / np.abs(audio).max()).astype(np.float32)
    return voiced
