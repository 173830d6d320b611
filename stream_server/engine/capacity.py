"""How much of the device live callers need, and whether it has room for more of them. No threads, no clock, no device.

Only what callers must have counts: finals, previews, and the chunks of a streaming recognizer. Partials are left out,
because they take what is left over and thin out; so is work on files.

The need is a product of two figures that are each measured where they can be seen soonest:
- the *cost* of a second of speech, in seconds of the device: from the steps that were run, each taken for as long as
  its audio would have taken in a full one, since steps fill up under load. It begins with the calibration, and forgets
  within a minute or so.
- how many streams *speak*: from their open segments, not from work that is done, which an overloaded device does not
  do more of. Who comes is taken to speak at once, before anything of him is heard, so that a crowd that comes in one
  second is held to the estimate like one that comes in an hour; within seconds what is seen replaces that.

And nobody is let in while finals wait, whatever the estimate says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stream_server.engine.calibration import StepCost
from stream_server.engine.recognizer import Kind
from stream_server.engine.scheduler import Job
from stream_server.engine.work import SAMPLE_RATE, Priority

TARGET: Final = 0.6
"""Share of the device that live callers may need; the rest is for finals that come at the same time, and partials."""

LATE_SEC: Final = 0.5
"""Nobody is let in while what a caller must have is taken so long after it was due."""

FREE_STREAMS: Final = 4
"""So many are let in by any machine: less is no measurement."""

IDLE_SHARE: Final = 0.25
"""What a stream counts for at least, though it be silent: it may speak in a moment."""

LOOK_INTERVAL: Final = 0.25
SPEECH_MEMORY: Final = 10.0
"""Seconds after which a look at who speaks has lost two thirds of its weight."""

COST_MEMORY: Final = 60.0
CALIBRATION_WEIGHT: Final = 30.0
"""Seconds of speech that the calibration weighs as much as."""

LATE_MEMORY: Final = 5.0
_WORST_LATE: Final = 2.0  # more is not remembered: it would keep the door shut for longer than it takes to recover

PREVIEWS: Final = 1.5
"""How often a second of speech is decoded for a segment recognizer, until it is known: speakers pause, and go on."""

_OUTLIER: Final = 5.0  # times what was expected: a machine that stood still for a moment


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What live callers need, at one moment.

    ``streams``: of live callers. ``speaking``: how many of them speak, as a mean over the last seconds. ``cost``:
    seconds of the device for a second of speech; None while nothing is known. ``utilization``: share of the device
    that they need; None likewise. ``late_sec``: how late what they must have was taken, the worst of the last seconds.
    ``most_streams``: how many that speak without a pause there may be; None while nothing is known.
    """

    streams: int
    speaking: float
    cost: float | None
    utilization: float | None
    late_sec: float
    most_streams: int | None


class Capacity:
    """What is known of one device. Times are seconds of the engine's clock, and never go back."""

    def __init__(self) -> None:
        self._steps: StepCost | None = None
        self._prior: float | None = None
        self._streams = 0
        self._speaking = 0.0
        self._looked_at: float | None = None
        self._spent = 0.0  # seconds of the device, and of speech that they were spent on, both fading
        self._heard = 0.0
        self._spent_at = -math.inf
        self._late = 0.0
        self._late_at = -math.inf

    def calibrated(self, steps: StepCost, *, previews: bool) -> None:
        """What steps take on this machine; ``previews``: whether speech is decoded more than once."""
        self._steps = steps
        self._prior = steps.at_best * (PREVIEWS if previews else 1.0)

    def come(self) -> None:
        """A live stream has been opened."""
        self._streams += 1
        self._speaking += 1

    def go(self) -> None:
        """A live stream has been closed. What it needed goes with it, and its part in what was late: the device of a
        crowd that has left is not the slower for it."""
        assert self._streams > 0
        self._speaking -= self._speaking / self._streams
        self._late -= self._late / self._streams
        self._streams -= 1

    def is_due(self, now: float) -> bool:
        """Whether it is time for another `look`."""
        return self._looked_at is None or now >= self._looked_at + LOOK_INTERVAL

    def look(self, now: float, speaking: int, late: float) -> None:
        """So many live streams are in a segment, and what they must have has been due for ``late`` seconds."""
        passed = now - self._looked_at if self._looked_at is not None else 0.0
        self._looked_at = now
        self._speaking += (1 - math.exp(-passed / SPEECH_MEMORY)) * (speaking - self._speaking)
        self._be_late(now, late)

    def record(self, now: float, seconds: float, jobs: Iterable[Job]) -> None:
        """A step with these jobs has taken ``seconds``, until ``now``."""
        jobs = list(jobs)
        needed = [job for job in jobs if job.is_needed and job.priority is Priority.LIVE]
        audio = _seconds(jobs)
        if not needed or not audio:
            return
        self._be_late(now, now - seconds - min(job.deadline for job in needed))
        if self._steps is not None and self._prior is not None:
            worse = max(1.0, (self.cost or 0.0) / self._prior)
            seconds = min(seconds, _OUTLIER * worse * self._steps.seconds(audio)) * self._steps.share(audio)
        kept = math.exp((self._spent_at - now) / COST_MEMORY)
        self._spent = self._spent * kept + seconds * _seconds(needed) / audio
        self._heard = self._heard * kept + _seconds(job for job in needed if job.kind is not Kind.PREVIEW)
        self._spent_at = now

    @property
    def cost(self) -> float | None:
        """Seconds of the device for a second of speech; None while nothing is known."""
        if self._prior is not None:
            return (self._spent + self._prior * CALIBRATION_WEIGHT) / (self._heard + CALIBRATION_WEIGHT)
        return self._spent / self._heard if self._heard >= CALIBRATION_WEIGHT else None

    def filled(self, now: float, more: int) -> float:
        """How full the device would be with so many more streams: 1 is as full as it may be. Infinity: finals wait."""
        if self._streams + more <= FREE_STREAMS:
            return 0.0
        if self._late_now(now) > LATE_SEC:
            return math.inf
        return self._need(more) / TARGET

    def occupancy(self, now: float) -> Occupancy:
        """Everything that is known, for people to look at."""
        cost = self.cost
        most = None if not cost else max(FREE_STREAMS, math.floor(TARGET / cost))
        needed = None if cost is None else self._need(0)
        return Occupancy(self._streams, self._speaking, cost, needed, self._late_now(now), most)

    def _need(self, more: int) -> float:
        return (self.cost or 0.0) * max(self._speaking + more, IDLE_SHARE * (self._streams + more))

    def _late_now(self, now: float) -> float:
        """The worst of the last seconds fades, so that the door is not opened and shut with every final."""
        return self._late * math.exp((self._late_at - now) / LATE_MEMORY) if self._late else 0.0

    def _be_late(self, now: float, late: float) -> None:
        self._late = max(0.0, min(late, _WORST_LATE), self._late_now(now))
        self._late_at = now


def _seconds(jobs: Iterable[Job]) -> float:
    return sum(job.samples for job in jobs) / SAMPLE_RATE
