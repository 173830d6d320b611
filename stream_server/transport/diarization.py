"""Tells the voices of live callers apart: one thread for all of them, which takes a segment of each in turn.

Who waits for a final comes before who may soon do so, and it is counted how much of the thread callers need, so that no
more are let in than it has time for. What is to be analysed `voice` knows; how voices are told apart, nobody here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from time import perf_counter
from typing import Final

from stream_server.engine.calibration import CLIP_SEC, StepCost, voice
from stream_server.engine.capacity import Capacity
from stream_server.engine.recognizer import Kind
from stream_server.engine.scheduler import Job
from stream_server.engine.work import SAMPLE_RATE, Audio
from stream_server.metrics.diarization import DiarizationMetrics
from stream_server.speakers.live import Analysis, Spoken
from stream_server.transport.voice import Answer, DiarizedChannel, HeardSegment, Voices

logger = logging.getLogger(__name__)

TRIALS: Final = 3
USUAL_COST: Final = 0.05
"""Seconds of the thread for a second of speech, until this machine has been measured: what a core of 2.5 GHz takes."""


class LiveDiarizer:
    """Tells voices apart for all live callers. ``load`` makes what knows the voices of one channel; the first call may
    take a while, and is made in the thread."""

    def __init__(
        self, load: Callable[[], Voices], loop: asyncio.AbstractEventLoop, metrics: DiarizationMetrics
    ) -> None:
        self._metrics = metrics
        self._load = load
        self._loop = loop
        self._channels: dict[DiarizedChannel, None] = {}  # the one whose turn is next comes first
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="diarizer")
        self._is_measured = False
        self._capacity = Capacity()
        self._capacity.calibrated(StepCost(0.0, USUAL_COST, CLIP_SEC), previews=False)
        metrics.watch(
            streams=lambda: len(self._channels),
            waiting=lambda: sum(channel.waiting for channel in self._channels) / SAMPLE_RATE,
            utilization=lambda: self._capacity.occupancy(self._look()).utilization or 0.0,
            cost=lambda: self._capacity.cost or 0.0,
        )

    def filled(self, more: int) -> float:
        """How full the thread would be with so many more channels: 1 is as full as it may be. Infinity: it has to catch
        up."""
        return self._capacity.filled(self._look(), more)

    def open(self, answer: Answer, progressed: Callable[[], None]) -> DiarizedChannel:
        """Begin a channel. ``answer`` and ``progressed`` are called in the event loop; the second whenever less waits
        than before."""
        channel = DiarizedChannel(self, answer, progressed, self._loop.time())
        self._channels[channel] = None
        self._capacity.come()
        self.wake()
        return channel

    def failed(self) -> None:
        self._metrics.failed.inc()

    def forget(self, channel: DiarizedChannel) -> None:
        del self._channels[channel]
        self._capacity.go()

    def wake(self, after: float = 0.0) -> None:
        """There may be something to do, so many seconds from now."""
        if after:
            self._loop.call_later(after, self.wake)
        elif self._running is None:
            # Not in the context of the session that happens to be the first: its id is not that of the others.
            self._running = self._loop.create_task(self._run(), context=Context())

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self) -> None:
        try:
            if not self._is_measured:
                self._is_measured = True
                await self._measure()
            while await self._step():
                pass
        finally:
            self._running = None

    async def _measure(self) -> None:
        """Load the models, and find out how long they take on this machine."""
        try:
            seconds = await self._loop.run_in_executor(self._thread, self._try)
        except Exception:
            logger.exception("it cannot be measured how long telling voices apart takes")
            return
        self._capacity.calibrated(StepCost(0.0, seconds / CLIP_SEC, CLIP_SEC), previews=False)
        most = self._capacity.occupancy(self._loop.time()).most_streams
        logger.info("the voices of about %s live callers can be told apart while all of them speak", most)

    def _try(self) -> float:
        """In the thread."""
        voices, clip = self._load(), voice(round(CLIP_SEC * SAMPLE_RATE))
        seconds = []
        for _ in range(TRIALS):  # the first takes memory as well, and the machine may have other things to do
            began = perf_counter()
            voices.analyse(clip)
            seconds.append(perf_counter() - began)
        return min(seconds)

    async def _step(self) -> bool:
        """Do what is next; returns whether there was anything: to say who it was where that is known, what a caller
        waits for, of the one whose turn it is, or, with nothing else to do, something in advance."""
        for channel, segment in self._found(DiarizedChannel.known):
            await self._tell(channel, segment)
            return True
        now = self._loop.time()
        for find in (DiarizedChannel.due, lambda channel: channel.early(now)):
            for channel, segment in self._found(find):
                del self._channels[channel]
                self._channels[channel] = None
                await self._analyse(channel, segment)
                return True
        return False

    def _found(
        self, find: Callable[[DiarizedChannel], HeardSegment | None]
    ) -> Iterator[tuple[DiarizedChannel, HeardSegment]]:
        for channel in self._channels:
            if (segment := find(channel)) is not None:
                yield channel, segment

    async def _analyse(self, channel: DiarizedChannel, segment: HeardSegment) -> None:
        samples = segment.audio[: segment.ripe]
        due = segment.due if segment.is_due else self._loop.time()  # what is done in advance is not late
        try:
            analysis, seconds = await self._loop.run_in_executor(self._thread, self._hear, channel, segment, samples)
        except Exception as error:
            channel.fail(segment, error)
            return
        self._record(seconds, Kind.PREVIEW, segment, len(samples), due)
        channel.analysed(segment, analysis)

    async def _tell(self, channel: DiarizedChannel, segment: HeardSegment) -> None:
        try:
            spoken, seconds = await self._loop.run_in_executor(self._thread, self._say, channel, segment)
        except Exception as error:
            channel.fail(segment, error)
            return
        self._metrics.audio.inc(segment.length / SAMPLE_RATE)
        self._record(seconds, Kind.FINAL, segment, segment.length, self._loop.time())
        channel.told(segment, spoken)

    def _hear(self, channel: DiarizedChannel, segment: HeardSegment, samples: Audio) -> tuple[Analysis, float]:
        """In the thread."""
        if channel.voices is None:
            channel.voices = self._load()
        began = perf_counter()
        analysis = channel.voices.analyse(samples, segment.analysis)
        return analysis, perf_counter() - began

    def _say(self, channel: DiarizedChannel, segment: HeardSegment) -> tuple[Spoken, float]:
        """In the thread."""
        assert channel.voices is not None, "nothing has been heard"
        assert segment.analysis is not None, "nothing has been heard of it"
        began = perf_counter()
        spoken = channel.voices.tell(segment.id, segment.start, segment.analysis)
        return spoken, perf_counter() - began

    def _record(self, seconds: float, kind: Kind, segment: HeardSegment, samples: int, due: float) -> None:
        """Count it as the engine would: all of it adds to what speech costs; speech counts once, when it is told."""
        self._metrics.busy.inc(seconds)
        self._capacity.record(self._look(), seconds, [Job(segment, kind, segment.id, 0, samples, due)])

    def _look(self) -> float:
        """Count who speaks, now and then; returns the time."""
        now = self._loop.time()
        if self._capacity.is_due(now):
            due = [segment.due for _, segment in self._found(DiarizedChannel.due)]
            speaking = sum(channel.is_speaking for channel in self._channels)
            self._capacity.look(now, speaking, max((now - each for each in due), default=0.0))
        return now
