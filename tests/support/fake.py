"""Recognizers without weights: their text is a function of the length of the audio, so a test knows it beforehand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stream_server.engine.recognizer import DeviceMemoryError, Kind, RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import SAMPLE_RATE, Hypothesis, TimedWord

WORD_SAMPLES = SAMPLE_RATE // 4
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")


def spoken(samples: int) -> str:
    """What the fake hears in so much audio: one word per quarter of a second."""
    return " ".join(WORDS[index % len(WORDS)] for index in range(samples // WORD_SAMPLES))


INFO = RecognizerInfo(
    name="fake",
    kind="segment",
    languages=("en",),
    description="counts samples",
    step_samples=SAMPLE_RATE // 2,
    max_batch=8,
    max_step_samples=60 * SAMPLE_RATE,
    max_segment_sec=60.0,
    keyterms=True,
)


class FakeStream(Stream):
    """Audio of a streaming segment heard so far; committed samples of a segment one."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.segment_id = -1
        self.samples = 0
        self.start = 0


@dataclass
class FakeRecognizer:
    """A recognizer of either kind.

    ``poison``: a step with a task of this segment id raises. ``error``: every step raises it. ``roomy``: a step with
    more tasks has no memory. ``gate``: a step waits for it, so that a test can let work pile up. ``batches``: the kinds
    of the tasks of every step that was run. ``openings``: chunk length and whether it follows, of every segment.
    """

    info: RecognizerInfo = INFO
    fails: bool = False
    poison: int | None = None
    error: Exception | None = None
    roomy: int = 1000
    gate: threading.Event | None = None
    batches: list[list[Kind]] = field(default_factory=list)
    openings: list[tuple[int, bool]] = field(default_factory=list)

    @classmethod
    def streaming(cls, *, chunks: tuple[int, ...] = (), lead_samples: int = 0) -> FakeRecognizer:
        info = replace(INFO, kind="streaming", step_samples=SAMPLE_RATE // 5, chunks=chunks, lead_samples=lead_samples)
        return cls(info=info)

    def new_stream(self, slot: Slot) -> Stream:
        return FakeStream(slot)

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        if len(tasks) > self.roomy:
            raise DeviceMemoryError("the fake has no room for so many")
        assert len({task.chunk for task in tasks}) == 1
        self.batches.append([task.kind for task in tasks])
        if any(self.fails or task.segment_id == self.poison for task in tasks):
            raise RuntimeError("the fake was told to fail")
        return [self._decode(task) for task in tasks]

    def _decode(self, task: Task) -> Hypothesis:
        stream = task.stream
        assert isinstance(stream, FakeStream)
        if stream.segment_id != task.segment_id:
            stream.segment_id, stream.samples, stream.start = task.segment_id, 0, task.start
            self.openings.append((task.chunk, task.follows))
        if self.info.kind == "streaming":
            stream.samples += len(task.audio)
            samples, stable = stream.samples, stream.samples
        else:
            samples = len(task.audio)
            if task.kind is Kind.STEP:
                stream.samples = max(stream.samples, samples - 2 * WORD_SAMPLES)
            stable = samples if task.kind is Kind.FINAL else stream.samples
        text = spoken(samples)
        words = None
        if task.kind is Kind.FINAL and task.options.words:
            words = tuple(
                TimedWord(word, stream.start + at * WORD_SAMPLES, stream.start + (at + 1) * WORD_SAMPLES, 0.9)
                for at, word in enumerate(text.split())
            )
        return Hypothesis(text, len(spoken(stable)), 0.9 if text else 0.0, "en", words)
