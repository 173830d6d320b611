"""Which work goes into the next step. No tensors, no audio, no threads, no clock: jobs in, a batch out.

Rules
- A stream's jobs run in the order in which they came, one at a time.
- Across streams: LIVE before BATCH; then streams that wait for a final, then for a preview of one, then for a step,
  then for a partial; then the oldest deadline.
- A batch holds jobs of one such class, so that no final waits for another caller's partial. It is bounded in jobs and
  in audio.
- What is only shown (steps and partials of a segment recognizer) is shared out by turns: of the streams for which one
  is due, the one that was shown something longest ago. By deadline alone a stream whose waiting partial is replaced
  again and again would stand at the end of the queue each time, and starve.
- What a caller must have (finals, previews, chunks) is shared out by owner, where it does not all fit: first the oldest
  of each owner, then the second of each. So whoever has many streams makes his own wait, not those of others.
- Chunks are different: one is as dear as another, a final no dearer than a step, so only their deadlines count, and a
  batch holds chunks of one length. A class that went first would starve callers of another length.
- A waiting partial is dropped when anything newer comes for its stream. A job that may be given up (``expires`` is set)
  is dropped at that time, or before it when it is past its deadline and something newer comes: what is shown late is
  not worth showing. So under load partials thin out by themselves; finals are never dropped.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from stream_server.engine.recognizer import Kind
from stream_server.engine.work import Priority, StreamOptions

TELL_INTERVAL = 1.0
"""Seconds between two signs that a stream is late."""

FELT = 1.0
"""Seconds without anything new to show, though it was asked for, from which on a stream is said to be thinned."""

SOON = 0.5
"""Seconds before its deadline from which on a step or partial takes part in the turns. Those of who sends faster than
real time lie further ahead, and wait until there is nothing else to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """Decode the audio [start, end) of a segment of a stream.

    Times are seconds of the engine's clock. ``deadline`` only orders jobs; at ``expires`` the job is given up, and from
    ``overdue`` on it is a sign of overload. ``chunk`` is the chunk length of the segment, 0 for a recognizer of the
    segment kind. ``options`` are those in force when the job arose: how late it is run must not matter. ``owner`` is
    whose stream it is, where several streams may be the same caller's.
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
    owner: Hashable = None

    @property
    def samples(self) -> int:
        return self.end - self.start

    @property
    def is_droppable(self) -> bool:
        return self.expires < math.inf

    @property
    def is_needed(self) -> bool:
        """Whether the caller must have it. The rest is for show, and may be left out."""
        return self.chunk > 0 or self.kind in (Kind.FINAL, Kind.PREVIEW)


@dataclass(slots=True)
class _Lane:
    """The jobs of one stream; ``running`` while its head is in a batch."""

    jobs: deque[Job] = field(default_factory=deque)
    running: bool = False
    told: float = -math.inf  # when it was last said that it is late
    missed: float | None = None  # since when it has waited in vain for something to show

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
        self._shown: dict[Hashable, float] = {}  # when a stream's job was last taken; also of those without jobs

    @property
    def waiting(self) -> int:
        """Jobs that are not in a batch."""
        return sum(len(lane.jobs) for lane in self._lanes.values())

    @property
    def has_work(self) -> bool:
        """Whether some stream's next job may run."""
        return any(lane.jobs and not lane.running for lane in self._lanes.values())

    def overdue(self, now: float) -> dict[Kind, float]:
        """By kind, the seconds for which the oldest waiting job of a live stream has been due; 0.0 where none is."""
        oldest = dict.fromkeys(Kind, now)
        for lane in self._lanes.values():
            for job in lane.jobs:
                if job.priority is Priority.LIVE and job.deadline < oldest[job.kind]:
                    oldest[job.kind] = job.deadline
        return {kind: now - deadline for kind, deadline in oldest.items()}

    def add(self, job: Job, now: float) -> None:
        """Queue a job behind the others of its stream; what has become pointless gives way."""
        lane = self._lanes.setdefault(job.stream, _Lane())
        if lane.jobs and lane.jobs[-1].kind is Kind.PARTIAL:
            waited = lane.jobs.pop()
            self.coalesced += 1
            if waited.deadline <= now:
                self._miss(job.stream, lane, now)
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
        priority, kind, _ = min(urgency for urgency, _ in ready)
        first = [entry for entry in ready if entry[0][:2] == (priority, kind)]
        chunk = min(first, key=lambda entry: entry[0])[1].jobs[0].chunk
        if chunk:
            ordered = _by_owner([entry for entry in ready if entry[1].jobs[0].chunk == chunk])
        elif kind in (Kind.FINAL, Kind.PREVIEW):
            ordered = _by_owner(first)
        else:
            ordered = self._by_turns(first, now)
        batch: list[Job] = []
        samples = 0
        for lane in ordered:
            job = lane.jobs[0]
            if batch and (len(batch) == self._max_jobs or samples + job.samples > self._max_samples):
                break
            samples += job.samples
            batch.append(lane.jobs.popleft())
            lane.running = True
            lane.missed = None
            self._shown[job.stream] = now
            if job.overdue <= now:
                self.late += 1
                if lane.told + TELL_INTERVAL <= now:
                    lane.told = now
                    self._thinned.append(job.stream)
        return batch

    def _by_turns(self, entries: list[_Entry], now: float) -> list[_Lane]:
        """Those first that are due soon: of them, those who were shown something longest ago."""

        def turn(entry: _Entry) -> tuple[bool, float, float]:
            (_, _, deadline), lane = entry
            if deadline > now + SOON:
                return True, deadline, 0.0
            return False, self._shown.get(lane.jobs[0].stream, -math.inf), deadline

        return [lane for _, lane in sorted(entries, key=turn)]

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

    def _miss(self, stream: Hashable, lane: _Lane, now: float) -> None:
        """A partial of the stream was due, and gives way without having been shown."""
        lane.missed = now if lane.missed is None else lane.missed
        if lane.missed + FELT <= now and lane.told + TELL_INTERVAL <= now:
            lane.told = now
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
        """Forget a stream and its waiting jobs; returns how many there were."""
        self._shown.pop(stream, None)
        lane = self._lanes.pop(stream, None)
        return len(lane.jobs) if lane else 0


_Entry = tuple[tuple[Priority, Kind, float], _Lane]


def _by_owner(entries: list[_Entry]) -> list[_Lane]:
    """Oldest deadline first; where there are several owners, the oldest of each before the second of any."""
    entries.sort(key=lambda entry: entry[0])
    if len({lane.jobs[0].owner for _, lane in entries}) == 1:
        return [lane for _, lane in entries]
    ranked = []
    seen: Counter[Hashable] = Counter()
    for place, (urgency, lane) in enumerate(entries):
        owner = lane.jobs[0].owner
        ranked.append((urgency[0], seen[owner], place, lane))
        seen[owner] += 1
    return [lane for *_, lane in sorted(ranked, key=lambda entry: entry[:3])]
