"""The values that go into the engine and come out of it. No tensors of a model, no queues, no threads.

All positions are samples at 16 kHz since the start of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Every recognizer is fed at this rate."""

Audio = NDArray[np.float32]


class Priority(IntEnum):
    """Who is waiting: a person, or a queue of files. Lower goes first."""

    LIVE = 0
    BATCH = 1


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What one caller asks of the recognizer.

    ``partial_samples``: how often a partial may come; None for no partials. ``chunk_samples``: how much audio a
    streaming recognizer should take at a time, partials or not: less is sooner, more is more accurate.
    """

    language: str
    partial_samples: int | None = 8_000
    chunk_samples: int = 8_000
    words: bool = True
    keyterms: tuple[str, ...] = ()
    priority: Priority = Priority.LIVE


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """Speech began at ``speech``; its audio follows, the first sample being ``start``.

    ``follows``: the speaker has not paused; the segment before it was cut for its length, and this one goes on there.
    """

    segment_id: int
    start: int
    speech: int
    follows: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class AppendAudio:
    """The next audio of the open segment. Samples at or after ``sure`` may still be cut off by `CloseSegment`."""

    samples: Audio
    sure: int


@dataclass(frozen=True, slots=True)
class PauseSegment:
    """The speaker pauses: unless speech goes on, the segment's audio is complete."""


@dataclass(frozen=True, slots=True)
class CloseSegment:
    """The open segment ends at ``end``, which may lie before audio that was appended already. Its final is due."""

    end: int


@dataclass(frozen=True, slots=True)
class ConfigureStream:
    """New options, from the next audio on."""

    options: StreamOptions


Command = OpenSegment | AppendAudio | PauseSegment | CloseSegment | ConfigureStream


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word as written, where it was spoken, and how sure the model is (0 to 1)."""

    word: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the recognizer makes of a segment so far.

    The first ``stable_chars`` characters of ``text`` are a prefix of every later hypothesis of the segment. ``words``
    is None where no word times were asked for, the model has none, or it is not final.
    """

    text: str
    stable_chars: int
    confidence: float
    language: str
    words: tuple[TimedWord, ...] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One hypothesis on its way back to the caller: it covers the segment's audio from ``start`` to ``end``."""

    segment_id: int
    start: int
    end: int
    is_final: bool
    hypothesis: Hypothesis


@dataclass(frozen=True, slots=True)
class Failure:
    """The recognizer failed on this segment even alone; no final will come for it."""

    segment_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Thinned:
    """The server is overloaded: fewer partials come than were asked for, or later."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The device failed, and with it every stream: no result will come any more."""

    reason: str


Outcome = Result | Failure | Thinned | Lost


class EngineFullError(Exception):
    """No slot is free for another stream."""


class EngineLostError(Exception):
    """The device failed: this engine takes no streams any more, and the process has to be started anew."""
