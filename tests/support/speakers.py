"""Speakers without models: a diarizer whose turns are known beforehand. See also `tone`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.work import SAMPLE_RATE
from stream_server.speakers.diarizer import Diarization, Diarizer, DiarizerError
from stream_server.speakers.embedder import Embedder
from stream_server.speakers.service import Speakers
from stream_server.speakers.turn import Turn
from tests.support.tone import ToneEmbedder


@dataclass
class ScriptedDiarizer:
    """Finds ``turns``, as far as it has heard them.

    ``fails``: where it raises: ``open``, ``hear`` or ``finish``. ``gate``: `finish` waits for it, so that a test can do
    something meanwhile. ``opened``: the number of speakers of each recording; ``heard``: the samples of each;
    ``closed``: how many were closed.
    """

    turns: tuple[Turn, ...] = ()
    fails: str = ""
    gate: threading.Event | None = None
    name: str = "scripted"
    opened: list[int | None] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    finishing: threading.Event = field(default_factory=threading.Event)
    closed: int = 0

    def open(self, num_speakers: int | None = None) -> Diarization:
        self.fail("open")
        self.opened.append(num_speakers)
        self.heard.append(0)
        return _Scripted(self, len(self.heard) - 1)

    def fail(self, where: str) -> None:
        if self.fails == where:
            raise DiarizerError(f"the script says that {where} fails")


class _Scripted:
    def __init__(self, diarizer: ScriptedDiarizer, number: int) -> None:
        self._diarizer = diarizer
        self._number = number
        self._is_closed = False

    def hear(self, samples: NDArray[np.float32]) -> None:
        assert not self._is_closed
        assert samples.ndim == 1
        assert samples.dtype == np.float32
        self._diarizer.fail("hear")
        self._diarizer.heard[self._number] += len(samples)

    def finish(self) -> tuple[Turn, ...]:
        self._diarizer.finishing.set()
        if self._diarizer.gate is not None:
            assert self._diarizer.gate.wait(10)
        self._diarizer.fail("finish")
        end = 1000 * self._diarizer.heard[self._number] // SAMPLE_RATE
        return tuple(Turn(t.start_ms, min(t.end_ms, end), t.speaker) for t in self._diarizer.turns if t.start_ms < end)

    def close(self) -> None:
        self._diarizer.closed += not self._is_closed
        self._is_closed = True


class FakeSpeakers(Speakers):
    """Given models, instead of those that settings name."""

    def __init__(self, diarizer: Diarizer | None = None, embedder: Embedder | None = None) -> None:
        self.fake_diarizer = diarizer or ScriptedDiarizer()
        self.fake_embedder = embedder or ToneEmbedder()

    def diarizer(self) -> Diarizer:
        return self.fake_diarizer

    embedded_diarizer = diarizer

    def embedder(self) -> Embedder:
        return self.fake_embedder

    def close(self) -> None:
        pass
