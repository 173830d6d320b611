"""How many real-time streams something carries: streams are played to it in virtual time, and their number is searched.

Virtual time moves by what each step has really taken, and jumps where nothing is to be done. For a single thread that
takes step after step this is exact, and needs no sleeping. Knows no model and no audio.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

LATE_SHARE: Final = 0.01
"""Of the chunks, so many may be late: real time at p99."""

DRIFT: Final = 0.05
"""Of a period: how much later chunks may be in the second half of a run than in the first, or a queue is growing."""

WARM_SEC: Final = 0.4
"""Streams that have just begun need a little more than others."""

Timer = Callable[[], float]


class Load(Protocol):
    """Streams that speak to something. ``counts_delivery``: whether the thread that steps pays for messages, too."""

    streams: int
    counts_delivery: bool

    def deliver(self, stream: int, now: float) -> int:
        """The stream's next message has come; returns how many pieces of work became due by it."""
        ...

    def step(self, now: float) -> Sequence[tuple[int, int]]:
        """Take one step; the stream and the message of all that it has finished, nothing if nothing was due."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Streams begin one after the other within one ``period``, which is how often a stream has a chunk; messages of a
    stream come every ``interval``. All in seconds. What comes in the first ``warm`` is not counted; the run lasts
    ``length``.
    """

    period: float
    interval: float
    warm: float
    length: float

    @classmethod
    def of(cls, period: float, interval: float, seconds: float) -> Schedule:
        """A schedule that counts about ``seconds``, but at least four periods."""
        warm = max(2 * period, WARM_SEC)
        return cls(period, interval, warm, warm + max(seconds, 4 * period) + period)


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a run. ``p50`` and ``p99``: seconds from a chunk's last message to the end of the step that took it;
    infinite if it was not taken. ``batch``: chunks of a step, and ``step``: its seconds, both in the median chunk's
    view. ``seconds``: the whole run, of which ``busy`` with something to do, and ``delivering`` messages.
    """

    streams: int
    period: float
    chunks: int
    p50: float
    p99: float
    drift: float
    steps: int
    batch: int
    step: float
    seconds: float
    busy: float
    delivering: float

    @property
    def holds(self) -> bool:
        """Every chunk but a hundredth is through before the next is due, and no queue grows."""
        return self.p99 <= self.period and self.drift <= DRIFT * self.period

    def to_dict(self) -> dict[str, Any]:
        """For JSON, times in milliseconds."""

        def milliseconds(value: float) -> float | None:
            return round(1e3 * value, 3) if math.isfinite(value) else None

        return {
            "streams": self.streams,
            "holds": self.holds,
            "chunks": self.chunks,
            "p50_ms": milliseconds(self.p50),
            "p99_ms": milliseconds(self.p99),
            "drift_ms": milliseconds(self.drift),
            "steps": self.steps,
            "batch": self.batch,
            "step_ms": milliseconds(self.step),
            "seconds": round(self.seconds, 3),
            "busy": round(self.busy, 3),
            "delivering": round(self.delivering, 3),
        }


def play(load: Load, schedule: Schedule, timer: Timer = time.perf_counter) -> Played:
    """Play all streams of a load. Ends early when it is clear that it does not hold."""
    begin = np.arange(load.streams) * (schedule.period / load.streams)
    count = math.ceil(schedule.length / schedule.interval)
    times = begin[:, None] + schedule.interval * np.arange(1, count + 1)
    order = np.argsort(times, axis=None, kind="stable")
    order = order[times.ravel()[order] <= schedule.length]
    arrival, speaker = times.ravel()[order], (order // count).tolist()
    counted = (schedule.warm, schedule.length - schedule.period)
    expected = load.streams * (counted[1] - counted[0]) / schedule.period

    waits: list[tuple[float, float]] = []  # when it arrived, how long it waited
    batches: list[tuple[int, float]] = []
    now = idle = delivering = 0.0
    due = late = next_ = 0
    while now < schedule.length and late <= 2 * LATE_SHARE * expected:
        arrived = int(np.searchsorted(arrival, now, side="right"))
        if arrived > next_:
            began = timer()
            for index in range(next_, arrived):
                pieces = load.deliver(speaker[index], now)
                if counted[0] <= arrival[index] <= counted[1]:
                    due += pieces
            if load.counts_delivery:
                delivering += timer() - began
                now += timer() - began
            next_ = arrived
        began = timer()
        done = load.step(now)
        seconds = timer() - began
        if not done:
            if next_ == len(arrival):
                break
            idle += max(0.0, float(arrival[next_]) - now)
            now = max(now, float(arrival[next_]))
            continue
        now += seconds
        if now > schedule.warm:
            batches.append((len(done), seconds))
        for stream, message in done:
            at = float(times[stream, message])
            if counted[0] <= at <= counted[1]:
                waits.append((at, now - at))
                late += now - at > schedule.period
    return _played(load.streams, schedule.period, due, waits, batches, now, idle, delivering)


def _played(
    streams: int,
    period: float,
    due: int,
    waits: list[tuple[float, float]],
    batches: list[tuple[int, float]],
    now: float,
    idle: float,
    delivering: float,
) -> Played:
    waited = np.full(max(due, len(waits), 1), np.inf)
    waited[: len(waits)] = sorted(wait for _, wait in waits)
    at, wait = np.array(waits).reshape(-1, 2).T
    drift = math.inf
    if len(waits) > 1:
        middle = np.median(at)
        drift = float(np.median(wait[at > middle]) - np.median(wait[at <= middle])) if at.max() > middle else 0.0
    sizes = sorted(batches)
    # The batch in which the median chunk was: small ones hardly count.
    cut, passed = sum(size for size, _ in sizes) / 2, 0
    batch, step = 0, 0.0
    for size, seconds in sizes:
        passed += size
        if passed >= cut:
            batch, step = size, seconds
            break
    return Played(
        streams=streams,
        period=period,
        chunks=len(waits),
        p50=float(np.quantile(waited, 0.5, method="higher")),
        p99=float(np.quantile(waited, 1 - LATE_SHARE, method="higher")),
        drift=drift,
        steps=len(batches),
        batch=batch,
        step=step,
        seconds=now,
        busy=now - idle,
        delivering=delivering,
    )


@dataclass(frozen=True, slots=True)
class Capacity:
    """The best run that held, None if not even one stream does; ``complete``: whether the search came to its end, and
    ``limited``: whether only the number of slots has ended it.
    """

    best: Played | None
    tried: tuple[Played, ...]
    complete: bool
    limited: bool

    @property
    def streams(self) -> int:
        return self.best.streams if self.best else 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "streams": self.streams,
            "complete": self.complete,
            "limited_by_slots": self.limited,
            "best": self.best.to_dict() if self.best else None,
            "tried": [played.to_dict() for played in self.tried],
        }


def find_capacity(
    run: Callable[[int], Played],
    guess: int,
    most: int,
    *,
    tolerance: float = 0.03,
    has_time: Callable[[], bool] = lambda: True,
) -> Capacity:
    """The largest number of streams, at most ``most``, for which ``run`` holds; to within ``tolerance`` of it.

    From the guess outwards in growing strides, then by halves. Stops where it is when there is no time any more.
    """
    tried: list[Played] = []
    best: Played | None = None
    low, high, stride = 0, most + 1, 0.2
    streams = min(max(guess, 1), most)
    while high - low > max(1, tolerance * low):
        if tried and not has_time():
            return Capacity(best, tuple(tried), complete=False, limited=False)
        played = run(streams)
        tried.append(played)
        if played.holds:
            low, best = streams, played
        else:
            high = streams
        if low == 0:
            streams = min(high - 1, int(high / (1 + stride)))
        elif high > most:
            streams = min(most, max(low + 1, int(low * (1 + stride))))
        else:
            streams = (low + high) // 2
        stride *= 2
        streams = max(1, streams)
    return Capacity(best, tuple(tried), complete=True, limited=low == most)


class ModelledLoad:
    """Streams whose steps are not taken but looked up: ``seconds`` of a batch, of at most ``most`` chunks."""

    counts_delivery = False

    def __init__(self, streams: int, messages: int, most: int, seconds: Callable[[int], float]) -> None:
        self.streams = streams
        self._messages = messages  # of a chunk
        self._most = most
        self._seconds = seconds
        self._came = [0] * streams
        self._due: deque[tuple[int, int]] = deque()
        self._clock = 0.0

    def deliver(self, stream: int, now: float) -> int:
        self._came[stream] += 1
        if self._came[stream] % self._messages:
            return 0
        self._due.append((stream, self._came[stream] - 1))
        return 1

    def step(self, now: float) -> Sequence[tuple[int, int]]:
        done = [self._due.popleft() for _ in range(min(self._most, len(self._due)))]
        if done:
            self._clock += self._seconds(len(done))
        return done

    def timer(self) -> float:
        """The time that has been spent, for `play`."""
        return self._clock


def predict(schedule: Schedule, most_streams: int, most: int, seconds: Callable[[int], float]) -> int:
    """How many streams are to be expected if a step of a batch takes ``seconds``; ``most``: of the largest batch."""
    messages = round(schedule.period / schedule.interval)

    def run(streams: int) -> Played:
        load = ModelledLoad(streams, messages, most, seconds)
        return play(load, schedule, load.timer)

    # Beyond what full batches can carry there is nothing to look for.
    bound = int(schedule.period * most / seconds(most)) + 1
    bound = max(bound, int(schedule.period / seconds(1)) + 1)
    return max(1, find_capacity(run, bound // 2, min(most_streams, bound), tolerance=0.02).streams)
