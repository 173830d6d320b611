"""Latencies are computed from given times, so every figure here is exact."""

from __future__ import annotations

from stream_client import Latency, LatencyMeter
from stream_protocol.events import Event, FinalSegment, Partial, SpeechEnd, SpeechStart


def start(segment: int, offset_ms: int) -> Event:
    return SpeechStart(seq=1, segment_id=segment, offset_ms=offset_ms)


def partial(segment: int, offset_ms: int, duration_ms: int) -> Event:
    return Partial(
        seq=2,
        segment_id=segment,
        text="a",
        stable_chars=0,
        language="en",
        offset_ms=offset_ms,
        duration_ms=duration_ms,
        audio_duration_sec=0,
        latency_ms=0,
    )


def end(segment: int) -> Event:
    return SpeechEnd(seq=3, segment_id=segment, offset_ms=900)


def final(segment: int) -> Event:
    return FinalSegment(
        seq=4,
        segment_id=segment,
        text="a",
        language="en",
        offset_ms=0,
        duration_ms=0,
        audio_duration_sec=0,
        silence_duration_ms=0,
        confidence=1,
        latency_ms=0,
    )


def test_each_latency_by_hand() -> None:
    meter = LatencyMeter(frame_ms=100)
    for frame in range(10):
        meter.sent(100 + frame * 0.1)  # frame k, with the samples up to (k + 1) * 100 ms, at 100 + k / 10 s
    meter.received(start(0, 201), 100.5)  # its first sample is in frame 2: sent at 100.2
    meter.received(partial(0, 201, 299), 100.7)  # covers up to 500 ms, frame 4: sent at 100.4
    meter.received(partial(0, 201, 499), 100.9)  # 700 ms, frame 6: sent at 100.6
    meter.received(end(0), 101.0)
    meter.received(final(0), 101.05)
    meter.received(start(1, 950), 101.2)
    summary = meter.summary()
    assert summary.first_partial == Latency(1, 500.0, 500.0, 500.0, 500.0)
    assert summary.partial == Latency(2, 300.0, 300.0, 300.0, 300.0)
    assert summary.final == Latency(1, 50.0, 50.0, 50.0, 50.0)
    assert (summary.segments, summary.partials, summary.finals, summary.lost_segments) == (2, 2, 1, 1)


def test_percentiles_are_latencies_that_occurred() -> None:
    latency = Latency.of([float(value) for value in range(100, 0, -1)])
    assert (latency.count, latency.p50, latency.p95, latency.p99, latency.max) == (100, 50.0, 95.0, 99.0, 100.0)
    assert Latency.of([]) == Latency(0, None, None, None, None)


def test_padding_beyond_the_audio_counts_from_the_last_frame() -> None:
    meter = LatencyMeter(frame_ms=100)
    meter.sent(5.0)
    meter.received(partial(0, 0, 5000), 5.25)
    assert meter.summary().partial.max == 250.0
