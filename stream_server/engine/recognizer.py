"""The interface behind which every model sits.

A *recognizer* is the shared model; a *stream* is one caller's decode state. There are two kinds, and nothing above the
engine knows which one is loaded:

- ``streaming``: takes the audio in chunks, each encoded once; of several lengths, one for each segment;
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

    ``languages`` are BCP 47 tags, such as en or de-DE. ``step_samples``: chunk length (streaming) or commit interval
    (segment). ``chunks``: the chunk lengths a streaming model can work with, shortest first; none means just
    ``step_samples``. ``lead_samples``: by how much the first chunk of a segment is shorter than the others.
    ``max_batch``: most tasks in one step. ``max_step_samples``: most audio in one step, so that a step stays short.
    ``max_segment_sec``: the longest segment the model is at ease with. ``keyterms``: whether it can favour words.
    ``max_streams``: how many streams its memory holds; None for any number.
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
    chunks: tuple[int, ...] = ()
    lead_samples: int = 0
    max_streams: int | None = None

    def chunk(self, samples: int) -> int:
        """The chunk length the model can work with that is nearest to what a caller asks for."""
        return min(self.chunks or (self.step_samples,), key=lambda chunk: abs(chunk - samples))


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

    ``audio`` is the segment from its start (segment kind) or the next chunk (streaming kind), [n] float32 at 16 kHz,
    valid while the step lasts; ``start`` is the position of its first sample. ``chunk``: the chunk length of the
    segment (streaming kind), the same for all tasks of a step. ``follows``: the segment goes on where the one before
    was cut.
    """

    stream: Stream
    kind: Kind
    segment_id: int
    start: int
    audio: Audio
    options: StreamOptions
    chunk: int = 0
    follows: bool = False


class DeviceMemoryError(Exception):
    """The device has no memory for this step; a smaller one may do."""


class DeviceLostError(Exception):
    """The device failed and will not come back while this process lives."""


class GarbageError(Exception):
    """The recognizer returned what cannot be true; the message says what."""


class Recognizer(Protocol):
    """A loaded model that has taken the memory it needs. Used by the engine's device thread only."""

    @property
    def info(self) -> RecognizerInfo: ...

    def new_stream(self, slot: Slot) -> Stream:
        """Decode state for a new caller in this slot."""
        ...

    def step(self, tasks: Sequence[Task]) -> Sequence[Hypothesis | Exception]:
        """Decode one batch, at most one task of a stream; the result of a task does not depend on the others.

        A step that raises has changed no stream, so that the batch can be retried one by one. A task that failed alone,
        or after its stream had changed, has its exception in place of a hypothesis, and is not retried. A partial
        hypothesis that says nothing new may be the same object as the last one of its stream: it is not delivered.

        Raises:
            DeviceMemoryError, DeviceLostError: the device is at fault, not the tasks.
        """
        ...
