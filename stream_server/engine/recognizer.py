"""The interface behind which every model sits.

A *recognizer* is the shared model; a *stream* is one caller's decode state. There are two kinds, and nothing above the
engine knows which one is loaded:

- ``streaming``: takes the audio in chunks of ``step_samples``, each encoded once;
- ``segment``: takes the whole segment so far each time. Every ``step_samples`` of a segment it may *commit* text, which
  later decodes must keep; what it commits depends on the audio alone, never on load, so that finals are reproducible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol

from stream_server.engine.slots import Slot
from stream_server.engine.work import Audio, Hypothesis, StreamOptions


@dataclass(frozen=True, slots=True)
class RecognizerInfo:
    """What the engine and ``/v1/models`` need to know of a model.

    ``languages`` are BCP 47 primary tags. ``step_samples``: chunk length (streaming) or commit interval (segment).
    ``max_batch``: most tasks in one step. ``max_step_samples``: most audio in one step, so that a step stays short.
    ``max_segment_sec``: the longest segment the model is at ease with. ``keyterms``: whether it can favour words.
    """

    name: str
    kind: Literal["streaming", "segment"]
    languages: tuple[str, ...]
    description: str
    step_samples: int
    max_batch: int
    max_step_samples: int
    max_segment_sec: float = 30.0
    keyterms: bool = False


class Kind(IntEnum):
    """What a task is for; lower is more urgent.

    FINAL ends a segment. PREVIEW is the final worked out in advance, while the speaker pauses, and may commit text
    (segment only). STEP is a chunk (streaming) or a decode that may commit text (segment). PARTIAL is only for show: of
    those of a stream that wait, the newest is enough.
    """

    FINAL = 0
    PREVIEW = 1
    STEP = 2
    PARTIAL = 3


class Stream:
    """One caller's decode state: made by `Recognizer.new_stream`, changed only by `Recognizer.step`."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One stream's part of a step.

    ``audio`` is the segment from its start (segment kind) or the next chunk (streaming kind), [n] float32 at 16 kHz;
    ``start`` is the position of its first sample.
    """

    stream: Stream
    kind: Kind
    segment_id: int
    start: int
    audio: Audio
    options: StreamOptions


class Recognizer(Protocol):
    """A loaded model. Used by the engine's device thread only."""

    @property
    def info(self) -> RecognizerInfo: ...

    def new_stream(self, slot: Slot) -> Stream:
        """Decode state for a new caller in this slot."""
        ...

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        """Decode one batch, at most one task of a stream; the result of a task does not depend on the others.

        Streams change only when the whole step succeeds, so that a failed batch can be retried one by one.
        """
        ...

    def warm_up(self) -> None:
        """Run once on silence, so that the first caller does not pay for lazy initialization."""
        ...
