"""The engine: streams in, hypotheses out, one thread that owns the device.

The thread waits on a condition, takes a batch from the scheduler, lets the recognizer decode it and delivers the
results. It is the only thread that touches the recognizer. A batch that fails is retried one by one, so that a poisoned
stream gets a `Failure` and the others their results. When the device itself fails, every stream gets `Lost` and the
thread ends: nothing but a new process can help. The engine knows nothing of asyncio: `deliver` is called in its thread
and must only hand the outcome over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stream_server.engine.planner import Planner
from stream_server.engine.recognizer import (
    DeviceLostError,
    DeviceMemoryError,
    Kind,
    Recognizer,
    RecognizerInfo,
    Stream,
    Task,
)
from stream_server.engine.scheduler import Job, Scheduler
from stream_server.engine.slots import Slot, SlotPool
from stream_server.engine.work import (
    SAMPLE_RATE,
    Command,
    EngineFullError,
    EngineLostError,
    Failure,
    Hypothesis,
    Lost,
    Outcome,
    Result,
    StreamOptions,
    Thinned,
)

logger = logging.getLogger(__name__)

Deliver = Callable[[Outcome], None]

STOP_PATIENCE = 30.0
"""Seconds that the last step may take when the engine stops."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """``max_streams``: callers at once. ``max_backlog_sec``: audio of a stream that may wait for finals and chunks."""

    max_streams: int = 256
    max_backlog_sec: float = 60.0


@dataclass(slots=True)
class EngineStatistics:
    """Counters since the start; read by the metrics, written by the device thread under the engine's lock."""

    steps: int = 0
    jobs: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    audio_seconds: float = 0.0
    busy_seconds: float = 0.0
    retried: int = 0
    failed: int = 0
    stale: int = 0


class EngineStream:
    """A caller's handle. Made by `Engine.open`; submit commands from one thread at a time, then close it."""

    def __init__(self, engine: Engine, slot: Slot, planner: Planner, state: Stream, deliver: Deliver) -> None:
        self._engine = engine
        self.slot = slot
        self.planner = planner
        self.state = state
        self.deliver = deliver
        self.shown: Hypothesis | None = None  # the last one that was delivered

    def submit(self, commands: Sequence[Command]) -> None:
        """Hand over commands, in order."""
        self._engine.submit(self, commands)

    @property
    def is_behind(self) -> bool:
        """Whether so much audio waits for its finals or chunks that the sender should pause."""
        return self._engine.is_behind(self)

    def close(self) -> None:
        """Forget the stream; what is still queued is dropped. Idempotent."""
        self._engine.close_stream(self)


class Engine:
    """Runs one recognizer for many streams.

    ``clock`` is in seconds and only compared with itself. All public methods are thread-safe.
    """

    def __init__(
        self, recognizer: Recognizer, settings: EngineSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._recognizer = recognizer
        self._settings = settings
        self._clock = clock
        info = recognizer.info
        self._scheduler = Scheduler(max_jobs=info.max_batch, max_samples=info.max_step_samples)
        self._slots = SlotPool(min(settings.max_streams, info.max_streams or settings.max_streams))
        self._streams: dict[Slot, EngineStream] = {}
        self._lost: str | None = None
        self._condition = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.statistics = EngineStatistics()

    @property
    def info(self) -> RecognizerInfo:
        return self._recognizer.info

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return self._slots.taken

    @property
    def waiting(self) -> int:
        """Jobs that wait for the device."""
        with self._condition:
            return self._scheduler.waiting

    @property
    def thinned(self) -> int:
        """Partials that were asked for and not computed, for want of time."""
        return self._scheduler.coalesced + self._scheduler.expired

    @property
    def late(self) -> int:
        """Chunks of a streaming recognizer that were taken more than a second after they were due."""
        return self._scheduler.late

    @property
    def max_streams(self) -> int:
        """How many streams there may be at once."""
        return self._slots.size

    @property
    def lost(self) -> str | None:
        """Why the device can no longer be used; None while it can."""
        return self._lost

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and self._lost is None

    def start(self) -> None:
        """Start the device thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the device thread after its current step; queued work is dropped. A step that hangs is left behind."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE)
            if self._thread.is_alive():
                logger.error("a step has not ended within %g s; it is left behind", STOP_PATIENCE)

    def open(self, options: StreamOptions, deliver: Deliver) -> EngineStream:
        """Open a stream.

        Raises:
            EngineFullError: ``max_streams`` are open.
            EngineLostError: the device has failed.
        """
        with self._condition:
            if self._lost is not None:
                raise EngineLostError(self._lost)
            if self._stopping:
                raise EngineFullError("the engine is stopping")
            slot = self._slots.acquire()
            planner = Planner(slot, self.info, options, self._clock())
            stream = EngineStream(self, slot, planner, self._recognizer.new_stream(slot), deliver)
            self._streams[slot] = stream
        return stream

    def submit(self, stream: EngineStream, commands: Sequence[Command]) -> None:
        """Queue the work that these commands give rise to."""
        with self._condition:
            if not self._slots.is_current(stream.slot):
                return
            now = self._clock()
            for command in commands:
                for job in stream.planner.apply(command, now):
                    self._scheduler.add(job, now)
            self._condition.notify()

    def is_behind(self, stream: EngineStream) -> bool:
        with self._condition:
            return self._is_behind(stream)

    def _is_behind(self, stream: EngineStream) -> bool:
        return stream.planner.backlog > self._settings.max_backlog_sec * SAMPLE_RATE

    def close_stream(self, stream: EngineStream) -> None:
        with self._condition:
            if self._slots.is_current(stream.slot):
                self._slots.release(stream.slot)
                self._streams.pop(stream.slot, None)
                self._scheduler.cancel(stream.slot)

    def step(self) -> bool:
        """Decode one batch, if there is work; returns whether there was. The device thread's, or a test's."""
        with self._condition:
            batch = self._take_batch()
            thinned = [self._streams[slot].deliver for slot in self._scheduler.take_thinned() if slot in self._streams]
        self._deliver((deliver, Thinned()) for deliver in thinned)
        if batch:
            began = self._clock()
            try:
                outcomes = self._decode(batch)
            except DeviceLostError as error:
                self._lose(str(error))
                return False
            self._finish(batch, outcomes, self._clock() - began)
        return bool(batch)

    def _lose(self, reason: str) -> None:
        """The device has failed: tell everybody, and take nobody any more."""
        logger.critical("the device failed, and every stream with it; restart the server: %s", reason)
        with self._condition:
            self._lost = reason
            deliveries = [stream.deliver for stream in self._streams.values()]
            self._streams.clear()
        self._deliver((deliver, Lost(reason)) for deliver in deliveries)

    def _run(self) -> None:
        try:
            while not self._stopping and self._lost is None:
                if not self.step():
                    with self._condition:
                        while not self._stopping and not self._scheduler.has_work:
                            self._condition.wait()
        except Exception as error:  # a fault of ours: better to be started anew than to be silent
            logger.exception("the engine failed")
            self._lose(f"{type(error).__name__}: {error}")

    def _take_batch(self) -> list[tuple[EngineStream, Job, Task]]:
        """The next batch with its audio; called with the lock held."""
        batch = []
        for job in self._scheduler.schedule(self._clock()):
            assert isinstance(job.stream, Slot)
            stream = self._streams[job.stream]
            planner = stream.planner
            assert job.options is not None, "a planner's jobs have them"
            task = Task(
                stream=stream.state,
                kind=job.kind,
                segment_id=job.segment_id,
                start=job.start,
                audio=planner.audio(job),
                options=job.options,
                chunk=job.chunk,
                follows=planner.follows(job),
            )
            batch.append((stream, job, task))
        return batch

    def _decode(self, batch: list[tuple[EngineStream, Job, Task]]) -> list[Hypothesis | Exception]:
        """Run a batch; where it fails, each task alone."""
        tasks = [task for _, _, task in batch]
        try:
            hypotheses = self._recognizer.step(tasks)
            assert len(hypotheses) == len(tasks), "a hypothesis for every task"
            for outcome in hypotheses:
                if isinstance(outcome, Exception):
                    logger.error("the recognizer failed on a segment: %s", outcome)
            return list(hypotheses)
        except DeviceLostError:
            raise
        except Exception as error:
            if len(tasks) == 1 and isinstance(error, DeviceMemoryError):
                raise DeviceLostError(f"no memory even for a single stream: {error}") from error
            if len(tasks) == 1:
                logger.exception("the recognizer failed on a segment")
                return [error]
            logger.warning("a batch of %d failed (%s); retrying one by one", len(tasks), error)
            self.statistics.retried += 1
            return [outcome for entry in batch for outcome in self._decode([entry])]

    def _finish(
        self, batch: list[tuple[EngineStream, Job, Task]], outcomes: list[Hypothesis | Exception], seconds: float
    ) -> None:
        deliveries: list[tuple[Deliver, Outcome]] = []
        with self._condition:
            self.statistics.steps += 1
            self.statistics.busy_seconds += seconds
            for (stream, job, _), outcome in zip(batch, outcomes, strict=True):
                self.statistics.jobs[job.kind] += 1
                self.statistics.audio_seconds += job.samples / SAMPLE_RATE
                if not self._slots.is_current(stream.slot):
                    self._scheduler.complete(job.stream)
                    self.statistics.stale += 1
                    continue
                # Who is behind waits for any sign that he may go on.
                if job.kind is Kind.FINAL or outcome is not stream.shown or self._is_behind(stream):
                    deliveries.append((stream.deliver, self._outcome(stream, job, outcome)))
                stream.shown = outcome if isinstance(outcome, Hypothesis) and job.kind is not Kind.FINAL else None
                if isinstance(outcome, Hypothesis):
                    stream.planner.finished(job, has_text=bool(outcome.text))
                else:
                    stream.planner.fail(job.segment_id)
                    self._scheduler.drop_segment(job.stream, job.segment_id)
                self._scheduler.complete(job.stream)
        self._deliver(deliveries)

    def _deliver(self, deliveries: Iterable[tuple[Deliver, Outcome]]) -> None:
        for deliver, outcome in deliveries:
            try:
                deliver(outcome)
            except Exception:
                logger.exception("a result could not be delivered")

    def _outcome(self, stream: EngineStream, job: Job, outcome: Hypothesis | Exception) -> Outcome:
        if isinstance(outcome, Exception):
            self.statistics.failed += 1
            return Failure(job.segment_id, f"{type(outcome).__name__}: {outcome}")
        return Result(
            segment_id=job.segment_id,
            start=stream.planner.segment_start(job),
            end=job.end,
            is_final=job.kind is Kind.FINAL,
            hypothesis=outcome,
        )
