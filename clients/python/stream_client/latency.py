"""How long captions take, as a caller sees it. It is given the times of events and asks no clock.

All latencies are by the client's clock, in milliseconds:
- first partial: from when the sample at which speech began was sent, to the first partial of the segment;
- partial: from when the last sample that a partial covers was sent, to the partial;
- final: from the receipt of ``speech_end`` to the receipt of its ``final_segment``.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from stream_protocol.events import Event, FinalSegment, Partial, SpeechEnd, SpeechStart


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of one kind of latency, in milliseconds; None where nothing was measured."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Latency:
        """Percentiles by the nearest rank: each is a latency that occurred."""
        ordered = sorted(values)

        def rank(share: float) -> float | None:
            if not ordered:
                return None
            return round(ordered[ceil(share * len(ordered)) - 1], 1)

        return cls(len(ordered), rank(0.5), rank(0.95), rank(0.99), rank(1.0))


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Latencies and counts of one or many streams."""

    first_partial: Latency
    partial: Latency
    final: Latency
    segments: int  # that began
    partials: int
    finals: int
    lost_segments: int  # that began, and of which no final came

    def to_dict(self) -> dict[str, Any]:
        """For JSON; milliseconds."""
        return asdict(self)


class LatencyMeter:
    """Measures one stream that is sent in frames of ``frame_ms`` each."""

    def __init__(self, frame_ms: int) -> None:
        self._frame_ms = frame_ms
        self._sent_at = array("d")  # seconds, of each frame; 10 frames a second are 0.3 MB an hour
        self._waiting: dict[tuple[int, int], int] = {}  # (channel, segment) without a partial yet: its offset
        self._ended: dict[tuple[int, int], float] = {}  # without a final yet: when speech_end came
        self.first_partial_ms = array("d")
        self.partial_ms = array("d")
        self.final_ms = array("d")
        self.segments = self.partials = self.finals = 0
        self._hung_up = False

    def sent(self, now: float) -> None:
        """One frame went out at ``now`` (seconds of any steady clock)."""
        self._sent_at.append(now)

    def hung_up(self) -> None:
        """The caller ended the audio: finals of speech that was cut off by that count, but are not timed.

        In a benchmark all callers hang up at once, and their last finals would be most of the late ones.
        """
        self._hung_up = True

    def received(self, event: Event, now: float) -> None:
        """An event came in at ``now``."""
        match event:
            case SpeechStart():
                self.segments += 1
                self._waiting[event.channel, event.segment_id] = event.offset_ms
            case Partial():
                self.partials += 1
                self.partial_ms.append(1000 * (now - self._time_of(event.offset_ms + event.duration_ms)))
                start = self._waiting.pop((event.channel, event.segment_id), None)
                if start is not None:
                    self.first_partial_ms.append(1000 * (now - self._time_of(start)))
            case SpeechEnd():
                if not self._hung_up:
                    self._ended[event.channel, event.segment_id] = now
            case FinalSegment():
                self.finals += 1
                key = event.channel, event.segment_id
                self._waiting.pop(key, None)
                ended = self._ended.pop(key, None)
                if ended is not None:
                    self.final_ms.append(1000 * (now - ended))

    def summary(self) -> LatencySummary:
        return summarize([self])

    def _time_of(self, offset_ms: int) -> float:
        """When the sample at ``offset_ms`` was sent."""
        assert self._sent_at, "events about audio before any audio"
        frame = max(offset_ms - 1, 0) // self._frame_ms
        return self._sent_at[min(frame, len(self._sent_at) - 1)]


def summarize(meters: Sequence[LatencyMeter]) -> LatencySummary:
    """One summary of many streams, over all their events."""
    segments, finals = sum(meter.segments for meter in meters), sum(meter.finals for meter in meters)
    return LatencySummary(
        first_partial=Latency.of([value for meter in meters for value in meter.first_partial_ms]),
        partial=Latency.of([value for meter in meters for value in meter.partial_ms]),
        final=Latency.of([value for meter in meters for value in meter.final_ms]),
        segments=segments,
        partials=sum(meter.partials for meter in meters),
        finals=finals,
        lost_segments=segments - finals,
    )
