"""Metrics of live sessions, and of the errors that callers of any kind are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_protocol.errors import ErrorCode
from stream_protocol.events import Event, FinalSegment, Partial, Warning

FINAL_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
PARTIAL_BUCKETS: Final = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
DELAY_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

LIVE: Final = "live"
"""The surface of errors on the WebSocket; others are named after the service whose API they are."""

FAULT: Final = "INTERNAL"
"""The code of an error over HTTP, and of a job, that is the server's fault. It is there from the beginning, with 0: a
counter that appears with its first event has not grown, as Prometheus sees it, and nobody would be told of that one."""


class LiveMetrics:
    """What sessions, and their connections, count as they go. ``surfaces``: others than `LIVE` that tell of errors."""

    def __init__(self, registry: CollectorRegistry, surfaces: Iterable[str] = ()) -> None:
        self.connections = Gauge("stream_server_connections", "Open WebSocket connections", registry=registry)
        self.sessions = Gauge("stream_server_sessions", "Sessions, detached ones included", registry=registry)
        self.detached = Gauge("stream_server_sessions_detached", "Sessions without a connection", registry=registry)
        self.limit = Gauge("stream_server_sessions_limit", "Sessions there may be", registry=registry)
        self.draining = Gauge("stream_server_draining", "1 while no sessions are taken, else 0", registry=registry)
        self.started = Counter("stream_server_sessions_started", "Sessions that began", registry=registry)
        self.resumed = Counter("stream_server_sessions_resumed", "Connections that resumed one", registry=registry)
        self._ended = Counter(
            "stream_server_sessions_ended",
            "Sessions that ended, by the close code; `none` where the caller had gone",
            ["close_code"],
            registry=registry,
        )
        self.audio = Counter("stream_server_received_audio_seconds", "Audio received from callers", registry=registry)
        self._partials = Histogram(
            "stream_server_partial_latency_seconds",
            "From audio being received to the partial that covers it",
            buckets=PARTIAL_BUCKETS,
            registry=registry,
        )
        self._finals = Histogram(
            "stream_server_final_latency_seconds",
            "From the end of speech being found to the final",
            buckets=FINAL_BUCKETS,
            registry=registry,
        )
        self._warnings = Counter("stream_server_warnings", "Warnings sent, by code", ["code"], registry=registry)
        self.slow_readers = Counter(
            "stream_server_slow_readers", "Connections closed because events were not read", registry=registry
        )
        self._errors = Counter(
            "stream_server_errors",
            "Errors that callers were told, by surface and code",
            ["surface", "code"],
            registry=registry,
        )
        self.loop_delay = Histogram(
            "stream_server_event_loop_delay_seconds",
            "How late the event loop was, looked at every second",
            buckets=DELAY_BUCKETS,
            registry=registry,
        )
        for code in ErrorCode:
            self._errors.labels(LIVE, code)
        for surface in surfaces:
            self._errors.labels(surface, FAULT)

    def ended(self, close_code: int | None) -> None:
        self._ended.labels("none" if close_code is None else str(close_code)).inc()

    def error(self, surface: str, code: str) -> None:
        """A caller is told of an error. ``code``: of the protocol's table, or a reason of the job system."""
        self._errors.labels(surface, code).inc()

    def sent(self, event: Event) -> None:
        """A session has an event for its caller, whether or not that is connected."""
        match event:
            case Partial():
                self._partials.observe(event.latency_ms / 1000)
            case FinalSegment():
                self._finals.observe(event.latency_ms / 1000)
            case Warning():
                self._warnings.labels(event.code).inc()
