"""Prometheus metrics, named here and nowhere else; units stand in the names. docs/operations.md describes each of them.

What happens often is counted where it happens; what is known anyway is read when somebody asks. It knows no sockets and
no database: figures of these are given to it.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Info, ProcessCollector, disable_created_metrics, generate_latest

from stream_server import __version__
from stream_server.engine.engine import Engine
from stream_server.metrics.device import EngineCollector
from stream_server.metrics.diarization import DiarizationMetrics
from stream_server.metrics.job import JobMetrics
from stream_server.metrics.live import LiveMetrics
from stream_server.metrics.request import RequestMetrics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A server's metrics, in a registry of their own, so that several servers may live in one process.

    ``surfaces`` and ``job_surfaces``: those over HTTP that tell of errors, and those that make jobs.
    """

    def __init__(self, engine: Engine, surfaces: Iterable[str] = (), job_surfaces: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, and nobody asks
        self.registry = CollectorRegistry()
        self.live = LiveMetrics(self.registry, surfaces)
        self.diarization = DiarizationMetrics(self.registry)
        self.requests = RequestMetrics(self.registry)
        self.jobs = JobMetrics(self.registry, job_surfaces)
        self.registry.register(EngineCollector(engine))
        ProcessCollector(registry=self.registry)
        build = Info("stream_server_build", "What is running", registry=self.registry)
        build.info(
            {
                "version": __version__,
                "python": platform.python_version(),
                "model": engine.info.name,
                "kind": engine.info.kind,
            }
        )

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
