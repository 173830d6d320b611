"""The engine: streams in, hypotheses out, one thread that owns the device.

The thread waits on a condition, takes a batch from the scheduler, lets the recognizer decode it and delivers the
results. It is the only thread that touches the recognizer. A stream whose task fails gets a `Failure`, and the others
their results. When the device itself fails, a step does not end or the thread is killed, every stream gets `Lost`:
nothing but a new process can help. The engine knows nothing of asyncio: `deliver` is called in its threads and must
only hand the outcome over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stream_server.engine.calibration import calibrate
from stream_server.engine.capacity import Capacity, Occupancy
from stream_server.engine.decoding import Decoding, Item
from stream_server.engine.planner import Planner
from stream_server.engine.recognizer import (
    DeviceLostError,
    Kind,
    Recognizer,
    RecognizerInfo,
    Task,
)
from stream_server.engine.scheduler import Job, Scheduler
from stream_server.engine.slots import Slot, SlotPool
from stream_server.engine.statistics import EngineStatistics
from stream_server.engine.stream import Deliver, EngineStream
from stream_server.engine.watchdog import Watchdog
from stream_server.engine.work import (
    SAMPLE_RATE,
    Command,
    EngineFullError,
    EngineLostError,
    Failure,
    Hypothesis,
    Lost,
    Outcome,
    Priority,
    Result,
    StreamOptions,
    Thinned,
)

logger = logging.getLogger(__name__)

NOTHING: Mapping[str, str] = {}

READY_INTERVAL = 0.1

STOP_PATIENCE = 30.0
"""Seconds that the last step may take when the engine stops."""

MOST_NAMED = 20
"""Streams that a log record names."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """``max_streams``: callers at once. ``max_backlog_sec``: audio of a stream that may wait for finals and chunks.
    ``step_timeout``: seconds after which a step counts as hung, and the engine as lost.
    """

    max_streams: int = 256
    max_backlog_sec: float = 60.0
    step_timeout: float = 60.0


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
        self._step_streams: list[EngineStream] = []  # those in the step that runs
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._watchdog = Watchdog(self._thread, settings.step_timeout, hung=self._hang, died=self._die)
        self.statistics = EngineStatistics()
        self._decoding = Decoding(recognizer, self.statistics, self._watchdog)
        self._capacity = Capacity()
        self._is_measured = False
        self._is_ready = threading.Event()

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

    def overdue(self) -> dict[Kind, float]:
        """By kind, the seconds for which the oldest waiting job of a live stream has been due; 0.0 where none is."""
        with self._condition:
            return self._scheduler.overdue(self._clock())

    def occupancy(self) -> Occupancy:
        """What live callers need of the device."""
        with self._condition:
            now = self._look()
            return self._capacity.occupancy(now)

    def filled(self, more: int) -> float:
        """How full the device would be with so many more live streams: 1 is as full as it may be. Infinity: finals
        wait, and it has to catch up."""
        with self._condition:
            now = self._look()
            return self._capacity.filled(now, more)

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

    def start(self, *, measured: bool = False) -> None:
        """Start the device thread, and who watches it. ``measured``: find out how long steps take before returning."""
        self._is_measured = measured
        self._thread.start()
        self._watchdog.start()
        while measured and self.is_alive and not self._is_ready.wait(READY_INTERVAL):
            pass

    def stop(self) -> None:
        """End the device thread after its current step; queued work is dropped. A step that hangs is left behind."""
        self._watchdog.stop()  # first: a thread that is told to end has not died
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive() and not self.statistics.hung:
            self._thread.join(STOP_PATIENCE)
            if self._thread.is_alive():
                logger.error("a step has not ended within %g s; it is left behind", STOP_PATIENCE)

    def open(
        self,
        options: StreamOptions,
        deliver: Deliver,
        *,
        about: Mapping[str, str] = NOTHING,
        owner: Hashable = None,
    ) -> EngineStream:
        """Open a stream. ``about``: fields for the log, such as the id of the session. ``owner``: who shares his turns
        with the other streams of the same owner.

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
            try:
                state = self._recognizer.new_stream(slot)
            except BaseException:
                self._slots.release(slot)
                raise
            planner = Planner(slot, self.info, options, self._clock(), owner=owner)
            stream = EngineStream(self, slot, planner, state, deliver, about)
            self._streams[slot] = stream
            if options.priority is Priority.LIVE:
                self._capacity.come()
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

    def backlog(self, stream: EngineStream) -> float:
        with self._condition:
            return self._backlog(stream)

    def _backlog(self, stream: EngineStream) -> float:
        return stream.planner.backlog / (self._settings.max_backlog_sec * SAMPLE_RATE)

    def close_stream(self, stream: EngineStream) -> None:
        with self._condition:
            if self._slots.is_current(stream.slot):
                self._slots.release(stream.slot)
                self._streams.pop(stream.slot, None)
                self._scheduler.cancel(stream.slot)
                if stream.planner.options.priority is Priority.LIVE:
                    self._capacity.go()

    def step(self) -> bool:
        """Decode one batch, if there is work; returns whether there was. The device thread's, or a test's."""
        with self._condition:
            batch = self._take_batch()
            thinned = [self._streams[slot].deliver for slot in self._scheduler.take_thinned() if slot in self._streams]
        self._deliver((deliver, Thinned()) for deliver in thinned)
        if batch:
            began = self._clock()
            self._step_streams = [stream for stream, _, _ in batch]
            try:
                outcomes = self._decoding.run([item for _, _, item in batch])
            except DeviceLostError as error:
                self._lose(str(error))
                return False
            self._step_streams = []
            self._report(batch, outcomes)
            self._finish(batch, outcomes, self._clock() - began)
        return bool(batch)

    def _report(self, batch: list[tuple[EngineStream, Job, Item]], outcomes: Sequence[Hypothesis | Exception]) -> None:
        for (stream, job, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                about = {**stream.about, "segment_id": job.segment_id}
                logger.error("the recognizer failed on a segment: %s", outcome, exc_info=outcome, extra=about)

    def _hang(self, place: str) -> None:
        """Told by the watchdog."""
        self.statistics.hung += 1
        self._lose(f"a step has not ended within {self._settings.step_timeout:g} s", place=place)

    def _die(self) -> None:
        """Told by the watchdog: nothing has come of what the thread had to say, if it could say anything."""
        if self._lost is None or self._streams:
            self._lose("the thread of the engine has ended")

    def _lose(self, reason: str, **about: str) -> None:
        """The device has failed: tell everybody, and take nobody any more."""
        named = [" ".join(stream.about.values()) for stream in self._step_streams[:MOST_NAMED]]
        logger.critical(
            "the engine failed, and every stream with it: %s",
            reason,
            extra=about | {"streams": self.streams, "step_of": named},
        )
        with self._condition:
            self._lost = self._lost or reason
            deliveries = [stream.deliver for stream in self._streams.values()]
            self._streams.clear()
        self._deliver((deliver, Lost(reason)) for deliver in deliveries)

    def _run(self) -> None:
        try:
            if self._is_measured:
                self._calibrate()
            self._is_ready.set()
            while not self._stopping and self._lost is None:
                if not self.step():
                    with self._condition:
                        while not self._stopping and self._lost is None and not self._scheduler.has_work:
                            self._condition.wait()
        except BaseException as error:  # a fault of ours, or the thread is killed: better be started anew than silent
            logger.exception("the engine failed")
            self._lose(f"{type(error).__name__}: {error}")

    def _calibrate(self) -> None:
        try:
            with self._watchdog.watching():
                steps = calibrate(self._recognizer, self._slots, self._clock)
        except DeviceLostError:
            raise
        except Exception:
            logger.exception("it cannot be measured how long steps take; live callers will tell")
            return
        self._capacity.calibrated(steps, previews=self.info.kind == "segment")
        most = self._capacity.occupancy(self._clock()).most_streams
        logger.info("about %s live callers may speak at once, as far as can be told before they do", most)

    def _look(self) -> float:
        """Count who speaks, now and then; returns the time. Called with the lock held."""
        now = self._clock()
        if self._capacity.is_due(now):
            live = [each for each in self._streams.values() if each.planner.options.priority is Priority.LIVE]
            overdue = self._scheduler.overdue(now)
            needed = Kind if self.info.kind == "streaming" else (Kind.FINAL, Kind.PREVIEW)
            speaking = sum(stream.planner.is_speaking for stream in live)
            self._capacity.look(now, speaking, max(overdue[kind] for kind in needed))
        return now

    def _take_batch(self) -> list[tuple[EngineStream, Job, Item]]:
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
            batch.append((stream, job, Item(task, planner.segment_start(job), job.end)))
        return batch

    def _finish(
        self, batch: list[tuple[EngineStream, Job, Item]], outcomes: list[Hypothesis | Exception], seconds: float
    ) -> None:
        deliveries: list[tuple[Deliver, Outcome]] = []
        with self._condition:
            if self._lost is not None:  # everybody has been told already
                return
            self.statistics.steps += 1
            self.statistics.busy_seconds += seconds
            self.statistics.step_seconds.add(seconds)
            self.statistics.batch_sizes.add(len(batch))
            now = self._look()
            if not any(isinstance(outcome, Exception) for outcome in outcomes):  # it was not one step then
                self._capacity.record(now, seconds, [job for _, job, _ in batch])
            for (stream, job, _), outcome in zip(batch, outcomes, strict=True):
                self.statistics.jobs[job.kind] += 1
                self.statistics.audio_seconds += job.samples / SAMPLE_RATE
                if not self._slots.is_current(stream.slot):
                    self._scheduler.complete(job.stream)
                    self.statistics.stale += 1
                    continue
                # Who is behind waits for any sign that he may go on.
                if job.kind is Kind.FINAL or outcome is not stream.shown or self._backlog(stream) > 1:
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
