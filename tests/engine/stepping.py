"""Callers of an engine that is stepped by hand, with a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.recognizer import Recognizer
from stream_server.engine.stream import EngineStream
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
from tests.support.fake import FakeRecognizer

OPTIONS = StreamOptions("en")
FAR = 10**9


def segment(audio: Audio, *, number: int = 0, start: int = 0, piece: int = 1600) -> list[Command]:
    """The commands of one whole segment."""
    pieces = [AppendAudio(audio[at : at + piece], FAR) for at in range(0, len(audio), piece)]
    return [OpenSegment(number, start, start), *pieces, CloseSegment(start + len(audio))]


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """A stream and what came back for it."""

    engine: Engine
    options: StreamOptions = OPTIONS
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream: EngineStream = self.engine.open(self.options, self.outcomes.append)

    def say(self, audio: Audio, *, number: int = 0, start: int = 0) -> None:
        self.stream.submit(segment(audio, number=number, start=start))

    @property
    def final(self) -> Hypothesis:
        finals = [each for each in self.outcomes if isinstance(each, Result) and each.is_final]
        assert len(finals) == 1
        return finals[0].hypothesis


def engine(recognizer: Recognizer | None = None, clock: Clock | None = None, **settings: float) -> Engine:
    return Engine(recognizer or FakeRecognizer(), replace(EngineSettings(), **settings), clock=clock or Clock())  # type: ignore[arg-type]


def run(made: Engine) -> None:
    while made.step():
        pass
