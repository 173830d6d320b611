"""``stream-server top``: a running server in a terminal, looked at again and again. It fits into 80 by 24."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_server.reading import ReadingError, Sample, Span, address_of, read_sample

ERRORS_SHOWN: Final = 3
BAR: Final = 16
FULL_WIDTH: Final = 74
"""Columns for bars and for what stands beside them."""
LATE_SEC: Final = 1.0
"""Finals later than that are shown in red."""


@dataclass(frozen=True, slots=True)
class View:
    """What `top` shows, for machines as well. Seconds are durations; what is ``None`` has not happened, or is unknown.

    ``busy``: share of the time for which the device was busy; ``needed``: share that live callers need, as the server
    estimates it. ``errors`` by code, ``server_errors`` and ``jobs_finished`` are those since the first look,
    ``watched_sec`` ago; rates and latencies are those of the last ``interval_sec``.
    """

    version: str
    model: str
    status: str
    interval_sec: float
    watched_sec: float
    sessions: int
    sessions_limit: int
    detached: int
    started_per_sec: float
    audio_per_sec: float
    capacity_streams: int | None
    busy: float
    needed: float | None
    real_time_factor: float | None
    step_p50_sec: float | None
    step_p95_sec: float | None
    batch_mean: float | None
    waiting: int
    overdue_sec: float
    thinned_per_sec: float
    final_p50_sec: float | None
    final_p95_sec: float | None
    partial_p95_sec: float | None
    finals_per_sec: float
    errors: dict[str, int]
    requests_per_sec: float
    server_errors: int
    jobs_queued: int
    jobs_processing: int
    jobs_oldest_sec: float
    jobs_finished: int
    workers: int
    memory_bytes: int
    open_files: int


def view_of(span: Span, first: Sample | None = None) -> View:
    """What two looks say, and what has been counted since the ``first`` one."""
    now = span.after
    watched = Span(first or span.before, now)
    codes = {code: round(watched.grown("errors_total", code=code)) for code in now.by("errors_total", "code")}
    statuses = now.by("http_requests_total", "status")
    capacity = now.known("engine_capacity_streams")
    return View(
        version=now.text("build_info", "version"),
        model=now.text("build_info", "model"),
        status=_status(now),
        interval_sec=round(span.seconds, 3),
        watched_sec=round(watched.seconds, 3),
        sessions=int(now.value("sessions")),
        sessions_limit=int(now.value("sessions_limit")),
        detached=int(now.value("sessions_detached")),
        started_per_sec=span.rate("sessions_started_total"),
        audio_per_sec=span.rate("received_audio_seconds_total"),
        capacity_streams=None if capacity is None else int(capacity),
        busy=span.rate("engine_busy_seconds_total"),
        needed=now.known("engine_utilization_ratio"),
        real_time_factor=now.known("engine_real_time_factor"),
        step_p50_sec=span.quantile("engine_step_seconds", 0.5),
        step_p95_sec=span.quantile("engine_step_seconds", 0.95),
        batch_mean=span.mean("engine_batch_size"),
        waiting=int(now.value("engine_waiting_jobs")),
        overdue_sec=max(now.by("engine_overdue_seconds", "kind").values(), default=0.0),
        thinned_per_sec=span.rate("engine_thinned_jobs_total"),
        final_p50_sec=span.quantile("final_latency_seconds", 0.5),
        final_p95_sec=span.quantile("final_latency_seconds", 0.95),
        partial_p95_sec=span.quantile("partial_latency_seconds", 0.95),
        finals_per_sec=span.rate("final_latency_seconds_count"),
        errors={code: count for code, count in codes.items() if count},
        requests_per_sec=span.rate("http_requests_total"),
        server_errors=sum(
            round(watched.grown("http_requests_total", status=status)) for status in statuses if status >= "500"
        ),
        jobs_queued=int(now.value("jobs", state="queued")),
        jobs_processing=int(now.value("jobs", state="processing")),
        jobs_oldest_sec=now.value("jobs_oldest_seconds"),
        jobs_finished=round(watched.grown("jobs_finished_total")),
        workers=int(now.value("job_workers")),
        memory_bytes=int(now.value("process_resident_memory_bytes")),
        open_files=int(now.value("process_open_fds")),
    )


def watch(url: str, interval: float, console: Console, *, once: bool, as_json: bool) -> None:
    """Show a server until Ctrl-C, or one interval of it.

    Raises:
        ReadingError: it cannot be reached at the start, or there is no such address.
    """
    address = address_of(url)
    first = before = read_sample(address)
    if as_json or once or not console.is_terminal:
        while True:
            time.sleep(interval)
            span = Span(before, before := read_sample(address))
            if as_json:
                print(json.dumps(asdict(view_of(span, first))), flush=True)
            else:
                console.print(picture(view_of(span, first), address, console.width))
            if once:
                return
    with Live(Text(f"looking at {address}", style="dim"), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                span = Span(before, before := read_sample(address))
            except ReadingError as error:  # it may come back
                live.update(Text(f"{error}; trying again every {interval:g} s", style="red"), refresh=True)
            else:
                live.update(picture(view_of(span, first), address, console.width), refresh=True)


def picture(view: View, address: str, width: int = 80) -> RenderableType:
    """A view for people, at most 80 columns and 24 lines; where there are fewer columns, values go on below."""
    is_narrow = width < FULL_WIDTH
    bar = 0 if is_narrow else BAR
    head = Text(f"Stream Server {view.version}  {view.model}  {address.removesuffix('/metrics')}  ", style="bold")
    head.append(view.status, style="green" if view.status == "ready" else "bold red")
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for style, least in (("dim", 10), ("", 30), ("dim", 10), ("", None)):
        table.add_column(style=style, min_width=None if is_narrow else least, overflow="fold")
    overdue = Text(_seconds(view.overdue_sec), style="red" if view.overdue_sec > LATE_SEC else "")
    failed = Text(f"{view.server_errors} in {_duration(view.watched_sec)}", style="red" if view.server_errors else "")
    since = f"in {_duration(view.watched_sec)}"
    late = view.final_p95_sec is not None and view.final_p95_sec > LATE_SEC
    rows: list[tuple[str, RenderableType, str, RenderableType]] = [
        ("sessions", _of(view.sessions, view.sessions_limit), "detached", str(view.detached)),
        ("started", f"{view.started_per_sec:.1f}/s", "audio", f"{view.audio_per_sec:.1f} s/s"),
        ("", "", "", ""),
        ("device", _share(view.busy, bar), "needed", _share(view.needed, bar)),
        ("step p50", _seconds(view.step_p50_sec), "step p95", _seconds(view.step_p95_sec)),
        ("batch", _number(view.batch_mean), "capacity", _number(view.capacity_streams)),
        ("waiting", str(view.waiting), "overdue", overdue),
        ("thinned", f"{view.thinned_per_sec:.1f}/s", "cost", _number(view.real_time_factor, 4)),
        ("", "", "", ""),
        ("final p50", _seconds(view.final_p50_sec), "final p95", _red(_seconds(view.final_p95_sec), late)),
        ("finals", f"{view.finals_per_sec:.1f}/s", "partial p95", _seconds(view.partial_p95_sec)),
        ("", "", "", ""),
        ("jobs", f"{view.jobs_queued} wait, {view.jobs_processing} run", "oldest", _seconds(view.jobs_oldest_sec)),
        ("finished", f"{view.jobs_finished} {since}", "workers", str(view.workers)),
        ("", "", "", ""),
        ("HTTP", f"{view.requests_per_sec:.1f}/s", "HTTP 5xx", failed),
        ("memory", f"{view.memory_bytes / 2**20:.0f} MiB", "files", str(view.open_files)),
    ]
    for row in rows:
        table.add_row(*row)
    most = sorted(view.errors.items(), key=lambda entry: -entry[1])[:ERRORS_SHOWN]
    told = ", ".join(f"{code} {count}" for code, count in most) or "none"
    return Group(head, Text(), table, Text(f"errors      {told}, {since}", style="red" if most else "dim"))


def _status(now: Sample) -> str:
    if not now.value("engine_up"):
        return "engine failed"
    return "draining" if now.value("draining") else "ready"


def _of(part: int, whole: int) -> Text:
    return Text(f"{part} of {whole}", style="red" if part >= whole else "bold")


def _red(text: str, is_bad: bool) -> Text:
    return Text(text, style="red" if is_bad else "")


def _share(value: float | None, bar: int) -> str:
    if value is None:
        return "-"
    filled = round(bar * min(1.0, value))
    return f"{'█' * filled}{'·' * (bar - filled)} {value:.0%}".lstrip()


def _duration(seconds: float) -> str:
    """How long somebody has looked."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{0 if value == int(value) else digits}f}"
