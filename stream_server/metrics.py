"""Prometheus metrics. Each is named here, once; units stand in the names."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stream_server.engine.engine import Engine


class Metrics:
    """The server's metrics, in a registry of their own, so that several servers may live in one process."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.connections = Gauge("stream_server_connections", "Open WebSocket connections", registry=self.registry)
        self.sessions = Gauge("stream_server_sessions", "Sessions, detached ones included", registry=self.registry)
        self.jobs = Gauge("stream_server_jobs", "Unfinished jobs, by state", ["state"], registry=self.registry)
        self.registry.register(_EngineCollector(engine))

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)


class _EngineCollector:
    """Reads the engine's own counters when asked, so that its thread does no bookkeeping for us."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine, statistics = self._engine, self._engine.statistics
        yield GaugeMetricFamily("stream_server_engine_streams", "Streams open in the engine", engine.streams)
        yield GaugeMetricFamily("stream_server_engine_waiting_jobs", "Jobs waiting for the device", engine.waiting)
        jobs = CounterMetricFamily("stream_server_engine_jobs", "Decodes by kind", labels=["kind"])
        for kind, count in statistics.jobs.items():
            jobs.add_metric([kind.name.lower()], count)
        yield jobs
        for name, text, value in (
            ("steps", "Batched model calls", statistics.steps),
            ("busy_seconds", "Time the device was busy", statistics.busy_seconds),
            ("audio_seconds", "Audio decoded, repeats included", statistics.audio_seconds),
            ("thinned_jobs", "Partial decodes given up for want of time", engine.thinned),
            ("late_chunks", "Chunks of a streaming model taken a second after they were due", engine.late),
            ("retried_batches", "Failed batches retried one by one", statistics.retried),
            ("failed_jobs", "Decodes that failed even alone", statistics.failed),
            ("stale_results", "Results whose caller had gone", statistics.stale),
        ):
            yield CounterMetricFamily(f"stream_server_engine_{name}", text, value)
