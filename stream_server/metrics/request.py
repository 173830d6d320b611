"""Metrics of HTTP requests, by route: the template of a path, never the path, so that there are only so many."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """How many, how they went, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open = Gauge("stream_server_http_requests_open", "HTTP requests being answered", registry=registry)
        self._answered = Counter(
            "stream_server_http_requests",
            "HTTP requests answered, refused WebSocket handshakes among them",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "stream_server_http_request_seconds",
            "From a request's headers to the end of its response",
            ["route"],
            buckets=BUCKETS,
            registry=registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has got its response; 499 is a caller who hung up."""
        self._answered.labels(method if method in METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
