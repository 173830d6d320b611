"""Streams of speech that speak to the recognizer alone, or to the whole engine around it.

Both are loads for `realtime.play`. Speech goes on without a pause and is cut into segments, those of different streams
at different times. Messages are an encoder frame long. Knows no schedule and no device.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from bench.speech import Speech
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.fastconformer.program import Chunk, Emission
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.recognizer import Kind, RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot, SlotPool
from stream_server.engine.stream import EngineStream
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    CloseSegment,
    Command,
    Hypothesis,
    OpenSegment,
    Outcome,
    StreamOptions,
)

SEGMENT_SEC = 10.0
"""Speakers pause about as often, or a little oftener."""


class MeteredRunner(Runner):
    """A runner that counts what it does: steps, chunks, frames, tokens, rounds of the search, and seconds; ``last`` is
    what it was given last.
    """

    last: Sequence[Chunk] = ()

    def reset(self) -> None:
        """Count from zero."""
        self.steps = self.chunks = self.frames = self.tokens = self.rounds = 0
        self.seconds = 0.0

    def warm_up(self) -> None:
        super().warm_up()
        self.reset()
        for program in self._programs.values():
            program._run_search = {key: self._counted(work) for key, work in program._run_search.items()}

    def _counted(self, work: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            self.rounds += 1
            work()

        return counted

    def run(self, chunks: Sequence[Chunk], frames: int) -> list[Emission]:
        self.last = chunks
        began = time.perf_counter()
        emissions = super().run(chunks, frames)
        self.seconds += time.perf_counter() - began
        self.steps += 1
        self.chunks += len(chunks)
        self.frames += sum(chunk.frames for chunk in chunks)
        self.tokens += sum(len(emission.tokens) for emission in emissions)
        return emissions


class _Segments:
    """Where a stream's segments begin and end, in messages of its own: the first one may be shorter."""

    def __init__(self, stream: int, chunk: int, message: int) -> None:
        chunks = max(1, round(SEGMENT_SEC * SAMPLE_RATE / chunk))
        self.messages = chunk // message  # of a chunk
        self._length = chunks * self.messages
        self._shift = stream * 7919 % chunks * self.messages

    def position(self, message: int) -> tuple[int, int]:
        """The segment that a message belongs to, and its place in it."""
        return divmod(message + self._shift, self._length)

    def begin(self, segment: int) -> int:
        """The first message of a segment."""
        return max(0, segment * self._length - self._shift)

    def ends(self, message: int) -> bool:
        """Whether a segment ends with this message."""
        return (message + 1 + self._shift) % self._length == 0


class RecognizerLoad:
    """Streams that hand their chunks to the recognizer: a batch is whatever is due, the oldest first."""

    counts_delivery = False

    def __init__(
        self, recognizer: FastConformerRecognizer, speech: Speech, streams: int, chunk: int, options: StreamOptions
    ) -> None:
        info = recognizer.info
        self.streams = streams
        self._recognizer = recognizer
        self._speech = speech
        self._chunk = chunk
        self._lead = info.lead_samples
        self._options = options
        self._most = min(info.max_batch, max(1, info.max_step_samples // chunk))
        self._message = info.chunks[0]
        slots = SlotPool(streams)
        self._states = [recognizer.new_stream(slots.acquire()) for _ in range(streams)]
        self._segments = [_Segments(stream, chunk, self._message) for stream in range(streams)]
        self._came = [0] * streams
        self._due: deque[tuple[int, int, Task]] = deque()

    def deliver(self, stream: int, now: float) -> int:
        message = self._came[stream]
        self._came[stream] += 1
        segments = self._segments[stream]
        segment, _ = segments.position(message)
        begin = segments.begin(segment)
        count = message + 1 - begin
        if count % segments.messages:
            return 0
        origin = begin * self._message
        end = origin + count * self._message
        # The first chunk is ready a little before its end, and so are all after it.
        last = end - self._lead
        self._add(stream, message, Kind.STEP, segment, max(origin, last - self._chunk), last)
        if not segments.ends(message):
            return 1
        self._add(stream, message, Kind.FINAL, segment, last, end)
        return 2

    def _add(self, stream: int, message: int, kind: Kind, segment: int, start: int, end: int) -> None:
        audio = self._speech.take(stream, start, end - start)
        task = Task(self._states[stream], kind, segment, start, audio, self._options, self._chunk)
        self._due.append((stream, message, task))

    def step(self, now: float) -> Sequence[tuple[int, int]]:
        batch: dict[int, tuple[int, Task]] = {}
        waiting: list[tuple[int, int, Task]] = []
        while self._due and len(batch) < self._most:
            entry = stream, message, task = self._due.popleft()
            if stream in batch:
                waiting.append(entry)
            else:
                batch[stream] = message, task
        self._due.extendleft(reversed(waiting))
        if batch:
            self._recognizer.step([task for _, task in batch.values()])
        return [(stream, message) for stream, (message, _) in batch.items()]


class _Witness:
    """A recognizer that notes what it is asked to do, for how long, and otherwise leaves it to another."""

    def __init__(self, recognizer: FastConformerRecognizer) -> None:
        self._recognizer = recognizer
        self.tasks: list[Task] = []
        self.seconds = 0.0

    @property
    def info(self) -> RecognizerInfo:
        return self._recognizer.info

    def new_stream(self, slot: Slot) -> Stream:
        return self._recognizer.new_stream(slot)

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        began = time.perf_counter()
        hypotheses = self._recognizer.step(tasks)
        self.seconds += time.perf_counter() - began
        self.tasks += tasks
        return hypotheses


class EngineLoad:
    """Streams that speak to the engine as the server's sessions do: commands in, outcomes out, planner, scheduler and
    slots between. The thread that would take the steps takes the messages too.
    """

    counts_delivery = True

    def __init__(
        self, recognizer: FastConformerRecognizer, speech: Speech, streams: int, chunk: int, options: StreamOptions
    ) -> None:
        self.streams = streams
        self.outcomes = 0
        self._speech = speech
        self._message = recognizer.info.chunks[0]
        self._now = 0.0
        self._witness = _Witness(recognizer)
        self._engine = Engine(self._witness, EngineSettings(max_streams=streams), clock=lambda: self._now)
        self._segments = [_Segments(stream, chunk, self._message) for stream in range(streams)]
        self._came = [0] * streams
        self._streams: list[EngineStream] = [self._engine.open(options, self._take) for _ in range(streams)]
        self._of = {id(stream.state): index for index, stream in enumerate(self._streams)}

    @property
    def recognizer_seconds(self) -> float:
        """How much of the time was the recognizer's."""
        return self._witness.seconds

    def deliver(self, stream: int, now: float) -> int:
        self._now = now
        message = self._came[stream]
        self._came[stream] += 1
        segments = self._segments[stream]
        segment, _ = segments.position(message)
        begin, start = segments.begin(segment), message * self._message
        end = start + self._message
        commands: list[Command] = []
        if message == begin:
            commands.append(OpenSegment(segment, start, start))
        commands.append(AppendAudio(self._speech.take(stream, start, self._message), end))
        due = int((message + 1 - begin) % segments.messages == 0)
        if segments.ends(message):
            commands.append(CloseSegment(end))
            due += 1
        self._streams[stream].submit(commands)
        return due

    def step(self, now: float) -> Sequence[tuple[int, int]]:
        self._now = now
        self._witness.tasks.clear()
        self._engine.step()
        return [
            (self._of[id(task.stream)], (task.start + len(task.audio) - 1) // self._message)
            for task in self._witness.tasks
        ]

    def _take(self, outcome: Outcome) -> None:
        self.outcomes += 1
