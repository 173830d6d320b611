"""The memory of a server over a soak as a picture. It does not know how it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def draw(
    points: Sequence[tuple[float, float, int]], warm_up: float, slope: float | None, title: str, path: Path
) -> None:
    """``points``: minutes, memory in MB, open descriptors; ``slope`` in MB per minute is that behind ``warm_up``."""
    minutes = [point[0] for point in points]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.plot(minutes, [point[1] for point in points], label="server and worker")
    above.axvline(warm_up, color="tab:gray", linewidth=1, linestyle=":", label="warm-up ends")
    above.set_ylim(bottom=0)
    above.set_ylabel("memory (PSS), MB")
    above.set_title(title if slope is None else f"{title}: {slope:+.2f} MB per minute")
    above.legend()
    below.plot(minutes, [point[2] for point in points], color="tab:green")
    below.set_ylim(bottom=0)
    below.set_ylabel("open descriptors")
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
