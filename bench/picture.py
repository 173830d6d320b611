"""The capacity curve as a picture. It does not know how it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from bench.load import Load
from stream_server.ramp import LIMIT_MS


def draw(loads: Sequence[Load], title: str, path: Path) -> None:
    """Latency of finals (p50, p95; logarithmic) and partials per second of a stream against the number of streams."""
    streams = [load.streams for load in loads]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for share, style in (("p95", "o-"), ("p50", "o--")):
        values = [load.latency["final"][share] for load in loads]
        above.plot(streams, [float("nan") if value is None else value for value in values], style, label=share)
    above.axhline(LIMIT_MS, color="tab:red", linewidth=1, label="limit")
    above.set_yscale("log")
    above.yaxis.set_major_formatter(ScalarFormatter())
    above.set_ylabel("speech_end to final, ms")
    above.set_title(title)
    above.legend()
    below.plot(streams, [load.partials_per_stream_sec for load in loads], "o-", color="tab:green")
    below.set_ylim(bottom=0)
    below.set_ylabel("partials per second\nof each stream")
    below.set_xlabel("live streams of continuous speech")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
