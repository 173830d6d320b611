"""One live caller's audio on its way to what tells voices apart, and what has become of each of its segments.

A channel gets the commands that the engine's stream gets. It keeps the audio of a segment until that has been analysed:
in advance at a pause, or while somebody goes on for long, and at the end, unless nothing was heard since. Who it was is
settled in order, and only of segments in which the recognizer finds text: a cough is no speaker. All of it happens in
the event loop. When an analysis is run, `diarization` decides; how voices are told apart, neither knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from stream_server.engine.planner import FINAL_SLACK
from stream_server.engine.work import SAMPLE_RATE, AppendAudio, Audio, CloseSegment, Command, OpenSegment, PauseSegment
from stream_server.speakers.live import Analysis, Spoken, whole

MAX_WAITING: Final = 30 * SAMPLE_RATE
"""Samples of ended segments of a caller that may wait for their analysis before its socket is no longer read."""

PAUSE_SEC: Final = 0.2
"""Seconds after the sign of a pause in which nothing is analysed in advance: four of five such pauses are over by then,
and with them what would have been found."""

Answer = Callable[[int, Spoken | Exception], None]
"""Takes a segment's id, and who speaks in it, or why that will never be known."""


class Voices(Protocol):
    """What knows the voices of one channel: see `speakers.live.LiveDiarization`."""

    def analyse(self, samples: Audio, earlier: Analysis | None = None) -> Analysis: ...

    def tell(self, segment_id: int, start: int, analysis: Analysis) -> Spoken: ...


class Owner(Protocol):
    """What a channel is analysed by: see `diarization.LiveDiarizer`."""

    def wake(self, after: float = 0.0) -> None:
        """There may be something to do, so many seconds from now."""

    def failed(self) -> None:
        """A caller has been told that it does not work."""

    def forget(self, channel: DiarizedChannel) -> None:
        """The channel has been closed."""


@dataclass(slots=True, eq=False)
class HeardSegment:
    """One segment, and its audio until it has been analysed. Positions are samples of the channel.

    ``paused_at``: nothing was heard since then; None while somebody speaks. ``analysis``: of its first samples, or all
    of them. ``is_wanted``: whether there is text in it; None while that is not known. ``due``: when it
    should have been analysed; 0 while it is open. Times are those of the event loop's clock.
    """

    id: int
    start: int
    audio: Audio = field(default_factory=lambda: np.zeros(SAMPLE_RATE, np.float32))
    length: int = 0
    paused_at: float | None = None
    is_closed: bool = False
    analysis: Analysis | None = None
    is_wanted: bool | None = None
    due: float = 0.0

    def append(self, samples: Audio) -> None:
        needed = self.length + len(samples)
        if needed > len(self.audio):  # what is being analysed keeps the audio that it has
            grown = np.zeros(max(needed, 2 * len(self.audio)), np.float32)
            grown[: self.length] = self.audio[: self.length]
            self.audio = grown
        self.audio[self.length : needed] = samples
        self.length = needed
        self.paused_at = None

    @property
    def is_known(self) -> bool:
        """Whether all of it has been analysed."""
        return self.analysis is not None and self.analysis.samples == self.length

    @property
    def ripe(self) -> int:
        """Samples that are worth analysing: all, if there will be no more or somebody pauses, else those that are as
        they will be at the end."""
        return self.length if self.is_closed or self.paused_at is not None else whole(self.length)

    @property
    def has_more(self) -> bool:
        """Whether more could be analysed than has been."""
        return self.ripe > (self.analysis.samples if self.analysis is not None else 0)

    @property
    def is_due(self) -> bool:
        """Whether it must be analysed before its final can be sent."""
        return self.is_closed and not self.is_known

    def close(self, length: int, due: float) -> None:
        """It ends here, which may be before audio that was heard already."""
        self.length, self.due, self.is_closed = length, due, True
        self.relieve()

    def relieve(self) -> None:
        """Let go of audio that is not needed any more."""
        if self.is_closed and self.is_known:
            self.audio = np.zeros(0, np.float32)


class DiarizedChannel:
    """One channel of one caller. Made by `LiveDiarizer.open`."""

    def __init__(self, owner: Owner, answer: Answer, progressed: Callable[[], None], opened_at: float) -> None:
        self.voices: Voices | None = None  # made by the thread
        self.is_closed = False
        self._owner = owner
        self._answer = answer
        self._progressed = progressed
        self._opened_at = opened_at
        self._segments: dict[int, HeardSegment] = {}  # in order
        self._open: HeardSegment | None = None

    @property
    def backlog(self) -> float:
        """How much audio waits to be analysed; above 1 the sender should pause."""
        return self.waiting / MAX_WAITING

    @property
    def waiting(self) -> int:
        """The same in samples."""
        return sum(segment.length for segment in self._segments.values() if segment.is_due)

    @property
    def is_speaking(self) -> bool:
        return self._open is not None

    def receive(self, command: Command, now: float) -> None:
        """Take a command of the session that the engine's stream gets too."""
        match command:
            case OpenSegment(segment_id, start):
                self._open = self._segments[segment_id] = HeardSegment(segment_id, start)
            case AppendAudio(samples):
                assert self._open is not None, "audio outside a segment"
                self._open.append(samples)
                if self._open.has_more:
                    self._owner.wake()
            case PauseSegment():
                assert self._open is not None, "no segment is open"
                self._open.paused_at = now
                self._owner.wake(PAUSE_SEC)
            case CloseSegment(end):
                assert self._open is not None, "no segment is open"
                segment, self._open = self._open, None
                # Audio sent faster than real time is due when it would have been heard.
                due = max(now, self._opened_at + end / SAMPLE_RATE) + FINAL_SLACK
                segment.close(end - segment.start, due)
                self._owner.wake()

    def settle(self, segment_id: int, *, has_text: bool) -> None:
        """The final of a segment is there: who speaks in it is wanted where it has text, and else of no interest."""
        if has_text:
            self._segments[segment_id].is_wanted = True
        else:
            del self._segments[segment_id]
        self._owner.wake()

    def known(self) -> HeardSegment | None:
        """The segment of which it can be said now who speaks in it."""
        segment = next(iter(self._segments.values()), None)
        return segment if segment is not None and segment.is_wanted and segment.is_known else None

    def due(self) -> HeardSegment | None:
        """The segment that must be analysed next."""
        return next((segment for segment in self._segments.values() if segment.is_due), None)

    def early(self, now: float) -> HeardSegment | None:
        """The segment that can be analysed in advance: its speaker has gone on for long, or pauses, and not for a
        breath."""
        segment = self._open
        if segment is None or not segment.has_more:
            return None
        return segment if segment.paused_at is None or now >= segment.paused_at + PAUSE_SEC else None

    def analysed(self, segment: HeardSegment, analysis: Analysis) -> None:
        """This was found in as much of a segment as there was."""
        segment.analysis = analysis
        segment.relieve()
        if not self.is_closed:
            self._progressed()

    def told(self, segment: HeardSegment, spoken: Spoken) -> None:
        """Who speaks in a segment is known: it is done with."""
        if not self.is_closed:
            del self._segments[segment.id]
            self._answer(segment.id, spoken)

    def fail(self, segment: HeardSegment, error: Exception) -> None:
        if not self.is_closed:
            self._owner.failed()
            self.close()  # it would fail again and again
            self._answer(segment.id, error)

    def close(self) -> None:
        """Forget everything. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self._open = None
            self._segments.clear()
            self._owner.forget(self)
