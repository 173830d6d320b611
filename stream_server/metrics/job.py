"""Metrics of jobs, as the database knows them: so workers in other processes and on other machines are in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_server.jobs.tally import CallbackOutcome, JobFigures
from stream_server.metrics.live import FAULT


class JobMetrics(Collector):
    """The figures that were given last; nothing before there are any, as on a server that takes no jobs."""

    def __init__(self, registry: CollectorRegistry, surfaces: Iterable[str] = ()) -> None:
        self._surfaces = tuple(surfaces)
        self._figures: JobFigures | None = None
        self._is_up: bool | None = None
        registry.register(self)

    def update(self, figures: JobFigures | None) -> None:
        """New figures; None: the database cannot be asked, so that the old ones stand."""
        self._is_up = figures is not None
        self._figures = figures or self._figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures
        yield _gauge("stream_server_database_up", "1 where the database of jobs answered just now, else 0", self._is_up)
        states = GaugeMetricFamily("stream_server_jobs", "Unfinished jobs, by state", labels=["state"])
        for state, count in (figures.unfinished if figures else {}).items():
            states.add_metric([state], count)
        yield states
        yield _gauge(
            "stream_server_jobs_oldest_seconds",
            "Age of the oldest job that waits; 0 without one",
            figures.oldest_sec if figures else None,
        )
        yield _gauge("stream_server_job_workers", "Workers that are alive", figures.workers if figures else None)
        finished = CounterMetricFamily(
            "stream_server_jobs_finished",
            "Jobs that ended, by surface and by how; of those that failed, why",
            labels=["surface", "outcome"],
        )
        waited = CounterMetricFamily(
            "stream_server_jobs_wait_seconds", "From jobs being made to being begun", labels=["surface"]
        )
        worked = CounterMetricFamily(
            "stream_server_jobs_work_seconds", "From jobs being begun to having ended", labels=["surface"]
        )
        audio = CounterMetricFamily(
            "stream_server_jobs_audio_seconds", "Length of the recordings of completed jobs", labels=["surface"]
        )
        called = CounterMetricFamily(
            "stream_server_callbacks", "Tries to deliver callbacks, by how they went", labels=["outcome"]
        )
        tallies = figures.tallies if figures else ()
        # What is alerted on is there before it happens; see `FAULT`.
        calls: dict[str, int] = dict.fromkeys(get_args(CallbackOutcome), 0) if figures else {}
        ends = {(surface, FAULT): 0 for surface in self._surfaces} if figures else {}
        calls |= {tally.outcome: tally.count for tally in tallies if tally.kind == "callback"}
        ends |= {(tally.surface, tally.outcome): tally.count for tally in tallies if tally.kind == "job"}
        for outcome, count in calls.items():
            called.add_metric([outcome], count)
        for labels, count in ends.items():
            finished.add_metric(labels, count)
        for surface in sorted({tally.surface for tally in tallies if tally.kind == "job"}):
            mine = [tally for tally in tallies if tally.kind == "job" and tally.surface == surface]
            waited.add_metric([surface], sum(tally.wait_sec for tally in mine))
            worked.add_metric([surface], sum(tally.work_sec for tally in mine))
            audio.add_metric([surface], sum(tally.audio_sec for tally in mine))
        yield from (finished, waited, worked, audio, called)


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    """One figure, or its name alone where it is not known."""
    family = GaugeMetricFamily(name, text)
    if value is not None:
        family.add_metric([], float(value))
    return family
