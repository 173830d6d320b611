"""Voices that are tones, and models that know them apart: who has another pitch is somebody else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.embedder import Calibration
from stream_server.speakers.turn import Turn, label_of

RATE = 16_000
FRAME_MS = 100
BANDS = 32
LOUD = 0.01


def voice(hertz: float, seconds: float) -> NDArray[np.float32]:
    """Somebody speaks."""
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(RATE * seconds), np.float32)


class ToneEmbedder:
    """The vector of a voice is its spectrum. ``heard``: seconds of what was embedded, one after another."""

    calibration = Calibration(threshold=0.5, slope=20.0)

    def __init__(self, name: str = "tone") -> None:
        self.name = name
        self.heard: list[float] = []

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self.heard.append(len(samples) / RATE)
        spectrum = np.abs(np.fft.rfft(samples)) ** 2
        bands = np.array([band.sum() for band in np.array_split(spectrum, BANDS)])
        vector: NDArray[np.float32] = (bands / np.linalg.norm(bands)).astype(np.float32)
        return vector


class ToneDiarization:
    """Frame by frame, whoever's tone is the strongest."""

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.float32]] = []
        self.is_closed = False

    def hear(self, samples: NDArray[np.float32]) -> None:
        self._pieces.append(samples)

    def finish(self) -> tuple[Turn, ...]:
        samples = np.concatenate(self._pieces)
        size = RATE * FRAME_MS // 1000
        labels: dict[int, str] = {}
        turns: list[Turn] = []
        for number, frame in enumerate(samples[: len(samples) // size * size].reshape(-1, size)):
            if np.abs(frame).max() < LOUD:
                continue
            pitch = int(np.argmax(np.abs(np.fft.rfft(frame)))) // 4
            speaker = labels.setdefault(pitch, label_of(len(labels)))
            start, end = number * FRAME_MS, (number + 1) * FRAME_MS
            if turns and turns[-1].speaker == speaker and turns[-1].end_ms == start:
                start = turns.pop().start_ms
            turns.append(Turn(start, end, speaker))
        return tuple(turns)

    def close(self) -> None:
        self.is_closed = True


class ToneDiarizer:
    """``opened``: the recordings that were diarized."""

    name = "tone"

    def __init__(self) -> None:
        self.opened: list[ToneDiarization] = []

    def open(self, num_speakers: int | None = None) -> ToneDiarization:
        self.opened.append(ToneDiarization())
        return self.opened[-1]
