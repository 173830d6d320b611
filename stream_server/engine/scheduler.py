"""Which work goes into the next step. No tensors, no audio, no threads, no clock: jobs in, a batch out.

Rules
- A stream's jobs run in the order in which they came, one at a time.
- Across streams: LIVE before BATCH; then streams that wait for a final, then for a preview of one, then for a step,
  then for a partial; then the oldest deadline.
- A batch holds jobs of one such class, so that no final waits for another caller's partial. It is bounded in jobs and
  in audio.
- Chunks are different: one is as dear as another, a final no dearer than a step, so only their deadlines count, and a
  batch holds chunks of one length. A class that went first would starve callers of another length.
- A waiting partial is dropped when anything newer comes for its stream. A job that may be given up (``expires`` is set)
  is dropped at that time, or before it when it is past its deadline and something newer comes: what is shown late is
  not worth showing. So under load partials thin out by themselves; finals are never dropped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from stream_server.engine.recognizer import Kind
from stream_server.engine.work import Priority, StreamOptions

TELL_INTERVAL = 1.0
"""Seconds between two signs that a stream is late."""


@dataclass(frozen=True, slots=True)
class Job:
    """Decode the audio [start, end) of a segment of a stream.

    Times are seconds of the engine's clock. ``deadline`` only orders jobs; at ``expires`` the job is given up, and from
    ``overdue`` on it is a sign of overload. ``chunk`` is the chunk length of the segment, 0 for a recognizer of the
    segment kind. ``options`` are those in force when the job arose: how late it is run must not matter.
    """

    stream: Hashable
    kind: Kind
    segment_id: int
    start: int
    end: int
    deadline: float
    priority: Priority = Priority.LIVE
    expires: float = math.inf
    chunk: int = 0
    overdue: float = math.inf
    options: StreamOptions | None = None

    @property
    def samples(self) -> int:
        return self.end - self.start

    @property
    def is_droppable(self) -> bool:
        return self.expires < math.inf


@dataclass(slots=True)
class _Lane:
    """The jobs of one stream; ``running`` while its head is in a batch."""

    jobs: deque[Job] = field(default_factory=deque)
    running: bool = False
    told: float = -math.inf  # when it was last said that it is late

    def urgency(self) -> tuple[Priority, Kind, float]:
        """That of its most urgent job: what stands before a final is as urgent as the final."""
        first = self.jobs[0]
        if len(self.jobs) == 1:  # nearly always, and this is asked of every stream in every step
            return first.priority, Kind.STEP if first.chunk else first.kind, first.deadline
        return (
            min(job.priority for job in self.jobs),
            Kind.STEP if first.chunk else min(job.kind for job in self.jobs),
            min(job.deadline for job in self.jobs),
        )


class Scheduler:
    """Jobs of all streams. ``max_jobs`` and ``max_samples`` bound a batch; a single job may be longer than that."""

    def __init__(self, *, max_jobs: int, max_samples: int) -> None:
        assert max_jobs > 0
        assert max_samples > 0
        self._max_jobs = max_jobs
        self._max_samples = max_samples
        self._lanes: dict[Hashable, _Lane] = {}
        self.coalesced = 0  # partials that were never run, because something newer came
        self.expired = 0  # jobs that were given up, because the server is overloaded
        self.late = 0  # chunks that were taken long after they were due, for the same reason
        self._thinned: list[Hashable] = []

    @property
    def waiting(self) -> int:
        """Jobs that are not in a batch."""
        return sum(len(lane.jobs) for lane in self._lanes.values())

    @property
    def has_work(self) -> bool:
        """Whether some stream's next job may run."""
        return any(lane.jobs and not lane.running for lane in self._lanes.values())

    def add(self, job: Job, now: float) -> None:
        """Queue a job behind the others of its stream; what has become pointless gives way."""
        lane = self._lanes.setdefault(job.stream, _Lane())
        if lane.jobs and lane.jobs[-1].kind is Kind.PARTIAL:
            lane.jobs.pop()
            self.coalesced += 1
        self._drop(
            job.stream, lane, [waiting for waiting in lane.jobs if waiting.is_droppable and waiting.deadline <= now]
        )
        lane.jobs.append(job)

    def schedule(self, now: float) -> list[Job]:
        """Take the next batch, most urgent first; empty when there is nothing that may run."""
        self._expire(now)
        ready = [(lane.urgency(), lane) for lane in self._lanes.values() if lane.jobs and not lane.running]
        if not ready:
            return []
        ready.sort(key=lambda entry: entry[0])
        most_urgent, chunk = ready[0][0][:2], ready[0][1].jobs[0].chunk
        batch: list[Job] = []
        samples = 0
        for urgency, lane in ready:
            job = lane.jobs[0]
            if job.chunk != chunk or not (chunk or urgency[:2] == most_urgent):
                continue
            if batch and (len(batch) == self._max_jobs or samples + job.samples > self._max_samples):
                break
            samples += job.samples
            batch.append(lane.jobs.popleft())
            lane.running = True
            if job.overdue <= now:
                self.late += 1
                if lane.told + TELL_INTERVAL <= now:
                    lane.told = now
                    self._thinned.append(job.stream)
        return batch

    def _expire(self, now: float) -> None:
        late = [(stream, lane) for stream, lane in self._lanes.items() if any(job.expires <= now for job in lane.jobs)]
        for stream, lane in late:
            self._drop(stream, lane, [job for job in lane.jobs if job.expires <= now])
            if not lane.jobs and not lane.running:
                del self._lanes[stream]

    def _drop(self, stream: Hashable, lane: _Lane, jobs: list[Job]) -> None:
        if jobs:
            lane.jobs = deque(job for job in lane.jobs if job not in jobs)
            self.expired += len(jobs)
            self._thinned.append(stream)

    def take_thinned(self) -> list[Hashable]:
        """The streams that have lost jobs for want of time since the last call, or got them late."""
        taken, self._thinned = self._thinned, []
        return taken

    def drop_segment(self, stream: Hashable, segment_id: int) -> None:
        """Forget what waits of a segment that has failed."""
        lane = self._lanes.get(stream)
        if lane is not None:
            lane.jobs = deque(job for job in lane.jobs if job.segment_id != segment_id)

    def complete(self, stream: Hashable) -> None:
        """The stream's job has run: the next one may."""
        lane = self._lanes.get(stream)
        if lane is not None:
            lane.running = False
            if not lane.jobs:
                del self._lanes[stream]

    def cancel(self, stream: Hashable) -> int:
        """Forget a stream's waiting jobs; returns how many there were."""
        lane = self._lanes.pop(stream, None)
        return len(lane.jobs) if lane else 0
