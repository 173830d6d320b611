"""Callers of the streaming recognizer, through an engine that is stepped by hand. Needs the gpu extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.fastconformer.loading import load_fastconformer
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    Audio,
    CloseSegment,
    Command,
    Hypothesis,
    OpenSegment,
    Outcome,
    Result,
    StreamOptions,
)

CHUNKS = (1280, 2560, 8960, 17920)
FAR = 10**9
SETTINGS = FastConformerSettings()


def load(folder: Path, streams: int = 8, settings: FastConformerSettings = SETTINGS) -> FastConformerRecognizer:
    return load_fastconformer("tiny", folder, "cpu", streams, settings)


def noise(seconds: float, seed: int) -> Audio:
    """Noise whose loudness changes from tenth to tenth of a second: a tiny random model says much of it."""
    random = np.random.default_rng(seed)
    length = round(seconds * SAMPLE_RATE)
    loudness = np.repeat(random.random(length // 1600 + 1), 1600)[:length]
    return np.asarray(0.1 * random.standard_normal(length) * loudness, np.float32)


def segment(
    audio: Audio, *, number: int = 0, start: int = 0, piece: int = 1600, follows: bool = False
) -> list[Command]:
    pieces = [AppendAudio(audio[at : at + piece], FAR) for at in range(0, len(audio), piece)]
    return [OpenSegment(number, start, start, follows), *pieces, CloseSegment(start + len(audio))]


class Caller:
    """A stream of an engine that is stepped by hand, and what came back for it."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.stream = engine.open(StreamOptions(**{"language": "auto", **options}), self.outcomes.append)

    @property
    def finals(self) -> list[Hypothesis]:
        return [each.hypothesis for each in self.outcomes if isinstance(each, Result) and each.is_final]

    @property
    def partials(self) -> list[Hypothesis]:
        return [each.hypothesis for each in self.outcomes if isinstance(each, Result) and not each.is_final]


def engine(recognizer: FastConformerRecognizer) -> Engine:
    return Engine(recognizer, EngineSettings(64), clock=lambda: 0.0)


def hear(recognizer: FastConformerRecognizer, *audios: Audio, **options: Any) -> list[Caller]:
    """One segment for each of some callers at once."""
    made = engine(recognizer)
    callers = [Caller(made, **options) for _ in audios]
    for caller, audio in zip(callers, audios, strict=True):
        caller.stream.submit(segment(audio))
    while made.step():
        pass
    for caller in callers:
        caller.stream.close()
    return callers
