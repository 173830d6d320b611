"""Metrics of telling the speakers of live callers apart."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class DiarizationMetrics:
    """What the diarizer of live callers counts, and what it is asked for when somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.busy = Counter(
            "stream_server_diarization_seconds", "Time spent on telling live callers' voices apart", registry=registry
        )
        self.audio = Counter(
            "stream_server_diarization_audio_seconds",
            "Audio of the segments whose speakers were told",
            registry=registry,
        )
        self.failed = Counter(
            "stream_server_diarization_failures", "Sessions that ended because it failed", registry=registry
        )
        self._streams = Gauge(
            "stream_server_diarization_streams", "Live callers whose voices are told apart", registry=registry
        )
        self._waiting = Gauge(
            "stream_server_diarization_waiting_seconds", "Audio of ended segments that waits for it", registry=registry
        )
        self._utilization = Gauge(
            "stream_server_diarization_utilization_ratio", "Share of its thread that callers need", registry=registry
        )
        self._cost = Gauge(
            "stream_server_diarization_real_time_factor",
            "Seconds of its thread for a second of speech",
            registry=registry,
        )

    def watch(
        self,
        *,
        streams: Callable[[], float],
        waiting: Callable[[], float],
        utilization: Callable[[], float],
        cost: Callable[[], float],
    ) -> None:
        """Ask these from now on, in the thread that renders."""
        self._streams.set_function(streams)
        self._waiting.set_function(waiting)
        self._utilization.set_function(utilization)
        self._cost.set_function(cost)
