"""One stream's audio, and which jobs it gives rise to. No threads and no clock: `now` comes in as an argument.

Both kinds of recognizer are planned here, so that nothing else has to tell them apart. For ``streaming`` a STEP is due
for every chunk of a segment and the FINAL takes what is left; how long chunks are is settled when the segment opens.
For ``segment`` the whole segment so far is decoded: a STEP (which may commit text) and PARTIALs come at fixed distances
from where speech begins, a PREVIEW at a pause, the FINAL at the end.

Deadlines lie on the stream's own time axis: audio sent faster than real time is due when it would have been heard.
So a fast sender yields to those who speak now, and only a stream that the server cannot follow in real time is late.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np

from stream_server.engine.recognizer import Kind, RecognizerInfo
from stream_server.engine.scheduler import Job
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    Audio,
    CloseSegment,
    Command,
    ConfigureStream,
    OpenSegment,
    PauseSegment,
    Priority,
    StreamOptions,
)

FINAL_SLACK = 0.1
"""Seconds after which a final is due; orders finals among each other."""

STEP_PATIENCE = 1.0
"""Seconds that a step may be late. Beyond it the server is overloaded, and showing less is what helps, where it can."""

EARLY = tuple(round(seconds * SAMPLE_RATE) for seconds in (0.35, 0.6, 0.7))
"""Where, after speech begins, partials come besides the regular ones until there is something to show: the first words
are awaited, and often the recognizer makes nothing yet of so little."""


@dataclass(slots=True)
class _Segment:
    """Audio of one segment from ``start`` on, kept until it is not needed any more: until the final has been decoded,
    or, where every chunk is taken once, until its chunk has."""

    segment_id: int
    start: int
    origin: int  # where speech begins, relative to start: nothing is to be shown of what lies before
    chunk: int = 0  # length of a chunk; 0 for a recognizer of the segment kind
    follows: bool = False  # it goes on where the one before was cut
    audio: Audio = field(default_factory=lambda: np.zeros(SAMPLE_RATE, np.float32))
    forgotten: int = 0  # samples that are not in `audio` any more
    length: int = 0
    stepped: int = 0  # up to where steps are planned, relative to start
    shown: int = 0  # up to where partials are planned, relative to start
    sure: int = 0  # audio before it cannot be cut off any more, relative to start
    has_text: bool = False  # whether there is anything to show yet
    closed: bool = False
    failed: bool = False  # nothing more is to be made of it

    def append(self, samples: Audio) -> None:
        held = self.length - self.forgotten
        needed = held + len(samples)
        if needed > len(self.audio):
            grown = np.zeros(max(needed, 2 * len(self.audio)), np.float32)
            grown[:held] = self.audio[:held]
            self.audio = grown
        self.audio[held:needed] = samples
        self.length += len(samples)

    def forget(self, end: int) -> None:
        """The audio up to ``end``, relative to start, is not needed any more."""
        held = self.length - end
        self.audio[:held] = self.audio[end - self.forgotten : self.length - self.forgotten]
        self.forgotten = end


class Planner:
    """Turns one stream's commands into jobs and hands out the audio of a job."""

    def __init__(
        self, stream: Hashable, info: RecognizerInfo, options: StreamOptions, now: float, *, owner: Hashable = None
    ) -> None:
        self.options = options
        self._owner = owner
        self._stream = stream
        self._info = info
        self._opened_at = now
        self._heard = (now, 0)  # when the audio up to a position was there, had it not come before it was spoken
        self._segments: dict[int, _Segment] = {}
        self._open: _Segment | None = None

    @property
    def backlog(self) -> int:
        """What the sender is ahead of the recognizer, in samples: closed segments whose final is still due, and chunks
        that are. Decodes of an open segment are no debt: later ones stand for earlier ones."""
        return sum(
            (segment.length if segment.closed else segment.stepped) - segment.forgotten
            for segment in self._segments.values()
            if (segment.closed or segment.chunk) and not segment.failed
        )

    @property
    def is_speaking(self) -> bool:
        """Whether a segment is open."""
        return self._open is not None

    def apply(self, command: Command, now: float) -> list[Job]:
        """Take a command of the session; returns the jobs that it makes due, in order."""
        match command:
            case OpenSegment(segment_id, start, speech, follows):
                assert self._open is None, "the segment before it is still open"
                chunk = self._info.chunk(self.options.chunk_samples) if self._info.kind == "streaming" else 0
                segment = _Segment(segment_id, start, max(0, speech - start), chunk, follows)
                self._open = self._segments[segment_id] = segment
                return []
            case AppendAudio():
                assert self._open is not None, "audio outside a segment"
                if self._open.failed:
                    return []
                self._open.append(command.samples)
                self._open.sure = min(self._open.length, command.sure - self._open.start)
                return self._plan(self._open, now)
            case PauseSegment():
                assert self._open is not None, "no segment is open"
                return [] if self._open.failed else self._preview(self._open, now)
            case CloseSegment(end):
                assert self._open is not None, "no segment is open"
                return self._close(end, now)
            case ConfigureStream(options):
                self.options = options
                return []

    def audio(self, job: Job) -> Audio:
        """The samples [start, end) of a job of this stream; a view that is valid until the job has `finished`."""
        segment = self._segments[job.segment_id]
        first = segment.start + segment.forgotten
        return segment.audio[job.start - first : job.end - first]

    def finished(self, job: Job, *, has_text: bool) -> None:
        """The job has run, and the recognizer made something of it or not; after the final the audio is forgotten."""
        segment = self._segments[job.segment_id]
        segment.has_text |= has_text
        if job.kind is Kind.FINAL:
            del self._segments[job.segment_id]
        elif segment.chunk:
            segment.forget(job.end - segment.start)

    def fail(self, segment_id: int) -> None:
        """The recognizer has failed on the segment: no more jobs come of it."""
        segment = self._segments[segment_id]
        segment.failed = True
        if segment.closed:
            del self._segments[segment_id]

    def segment_start(self, job: Job) -> int:
        return self._segments[job.segment_id].start

    def follows(self, job: Job) -> bool:
        """Whether the job's segment goes on where the one before was cut."""
        return self._segments[job.segment_id].follows

    def _chunks(self, segment: _Segment, now: float) -> list[Job]:
        """Steps for all whole chunks of what is sure."""
        jobs: list[Job] = []
        while True:
            lead = 0 if segment.stepped else self._info.lead_samples
            end = segment.stepped + segment.chunk - lead
            if end > segment.sure:
                return jobs
            jobs.append(self._job(segment, Kind.STEP, segment.stepped, end, now))
            segment.stepped = end

    def _plan(self, segment: _Segment, now: float) -> list[Job]:
        if segment.chunk:
            return self._chunks(segment, now)
        step = self._info.step_samples
        interval = self.options.partial_samples
        jobs: list[Job] = []
        if interval is None:
            return jobs
        segment.stepped = max(segment.stepped, segment.origin)
        segment.shown = max(segment.shown, segment.origin)
        while segment.stepped + step <= segment.sure:
            segment.stepped += step
            segment.shown = segment.stepped
            jobs.append(self._job(segment, Kind.STEP, 0, segment.stepped, now))
        early = not segment.has_text and any(segment.shown < segment.origin + mark <= segment.length for mark in EARLY)
        if early or segment.length - segment.shown >= interval:
            segment.shown = segment.length
            jobs.append(self._job(segment, Kind.PARTIAL, 0, segment.length, now))
        return jobs

    def _preview(self, segment: _Segment, now: float) -> list[Job]:
        if segment.chunk or self.options.priority is Priority.BATCH or segment.length > segment.sure:
            return []
        segment.shown = segment.length
        return [self._job(segment, Kind.PREVIEW, 0, segment.length, now)]

    def _close(self, end: int, now: float) -> list[Job]:
        segment, self._open = self._open, None
        assert segment is not None
        if segment.failed:
            del self._segments[segment.segment_id]
            return []
        assert segment.start <= end <= segment.start + segment.length
        segment.length = segment.sure = end - segment.start
        segment.closed = True
        assert not segment.chunk or segment.stepped <= segment.length, "audio was taken back that was said to be sure"
        jobs = self._chunks(segment, now) if segment.chunk else []
        return [*jobs, self._job(segment, Kind.FINAL, segment.stepped if segment.chunk else 0, segment.length, now)]

    def _job(self, segment: _Segment, kind: Kind, begin: int, end: int, now: float) -> Job:
        position = segment.start + end
        heard = max(now, self._opened_at + position / SAMPLE_RATE)
        if segment.chunk:
            interval = segment.chunk / SAMPLE_RATE
        else:
            interval = (self.options.partial_samples or self._info.step_samples) / SAMPLE_RATE
        job = Job(
            stream=self._stream,
            kind=kind,
            segment_id=segment.segment_id,
            start=segment.start + begin,
            end=segment.start + end,
            deadline=heard + (FINAL_SLACK if kind is Kind.FINAL else interval),
            priority=self.options.priority,
            chunk=segment.chunk,
            options=self.options,
            owner=self._owner,
        )
        if self.options.priority is not Priority.LIVE:
            return job
        if segment.chunk:
            # Who was silent for long and then sends much at once has not been spoken to so fast: that is no overload.
            since, before = self._heard
            self._heard = (max(now, since + (position - before) / SAMPLE_RATE), position)
            return replace(job, overdue=self._heard[0] + interval + STEP_PATIENCE)
        return replace(job, expires=job.deadline + STEP_PATIENCE) if kind in (Kind.STEP, Kind.PREVIEW) else job
