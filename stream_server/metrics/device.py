"""The engine's metrics, read from its own counters when asked, so that its thread does no bookkeeping for us."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_server.engine.engine import Engine


class EngineCollector(Collector):
    """One engine's metrics."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine, statistics = self._engine, self._engine.statistics
        yield GaugeMetricFamily("stream_server_engine_streams", "Streams open in the engine", engine.streams)
        yield GaugeMetricFamily("stream_server_engine_max_streams", "Streams there may be", engine.max_streams)
        yield GaugeMetricFamily("stream_server_engine_waiting_jobs", "Jobs waiting for the device", engine.waiting)
        overdue = GaugeMetricFamily(
            "stream_server_engine_overdue_seconds",
            "Time since the oldest waiting job of a live stream was due, by kind; 0 where none is late",
            labels=["kind"],
        )
        for kind, seconds in engine.overdue().items():
            overdue.add_metric([kind.name.lower()], seconds)
        yield overdue
        need = engine.occupancy()
        for name, text, value in (
            ("utilization_ratio", "Share that live callers need, by estimate; NaN: unknown", need.utilization),
            ("speaking_streams", "Live streams that speak, as a mean over seconds", need.speaking),
            ("late_seconds", "How late finals and chunks were taken, the worst of the last seconds", need.late_sec),
            ("capacity_streams", "Streams that may speak at once, by estimate; NaN: unknown", need.most_streams),
            ("real_time_factor", "Seconds of the device for a second of speech; NaN: unknown", need.cost),
        ):
            yield GaugeMetricFamily(f"stream_server_engine_{name}", text, math.nan if value is None else value)
        jobs = CounterMetricFamily("stream_server_engine_jobs", "Decodes by kind", labels=["kind"])
        for kind, count in statistics.jobs.items():
            jobs.add_metric([kind.name.lower()], count)
        yield jobs
        for name, text, distribution in (
            ("step_seconds", "How long batched model calls take", statistics.step_seconds),
            ("batch_size", "Jobs in one batched model call", statistics.batch_sizes),
        ):
            yield HistogramMetricFamily(
                f"stream_server_engine_{name}", text, list(distribution.cumulative()), distribution.total
            )
        for name, text, counted in (
            ("steps", "Batched model calls", statistics.steps),
            ("busy_seconds", "Time the device was busy", statistics.busy_seconds),
            ("audio_seconds", "Audio decoded, repeats included", statistics.audio_seconds),
            ("thinned_jobs", "Partial decodes given up for want of time", engine.thinned),
            ("late_chunks", "Chunks of a streaming model taken a second after they were due", engine.late),
            ("retried_batches", "Failed batches retried one by one", statistics.retried),
            ("failed_jobs", "Decodes that failed even alone", statistics.failed),
            ("garbage_jobs", "Decodes whose result could not be believed", statistics.garbage),
            ("hung_steps", "Batched model calls that did not end", statistics.hung),
            ("stale_results", "Results whose caller had gone", statistics.stale),
        ):
            yield CounterMetricFamily(f"stream_server_engine_{name}", text, counted)
        yield GaugeMetricFamily("stream_server_engine_up", "1 while the engine works, else 0", int(engine.is_alive))
