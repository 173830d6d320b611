"""The findings of the engine's benchmark as a picture: streams by chunk size, and the parts of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PARTS = ("features", "encoder", "search", "copies", "fill", "other", "text")


def draw(result: dict[str, Any], path: Path) -> None:
    """``result`` as `engine_report.report` gives it."""
    chunks = result["chunks"]
    names = [f"{name} ms" for name in chunks]
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, 1)
    series = {
        "floor allows": [(chunk["floor"] or {}).get("streams") for chunk in chunks.values()],
        "recognizer": [_streams(chunk, "recognizer") for chunk in chunks.values()],
        "engine": [_streams(chunk, "engine") for chunk in chunks.values()],
        "transformers streaming": [(chunk["transformers"] or {}).get("streams") for chunk in chunks.values()],
    }
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        places = [place + (index - 1.5) * width for place in range(len(names))]
        bars = above.bar(places, [value or 0 for value in values], width, label=name)
        above.bar_label(bars, ["" if value is None else str(value) for value in values], fontsize=7)
    above.set_yscale("symlog", linthresh=1)
    above.set_xticks(range(len(names)), names)
    above.set_ylabel("streams in real time at p99")
    above.set_title(f"{result['model']['type']}, {result['model']['parameters'] / 1e6:.0f} M, {result['device']}")
    above.margins(y=0.15)
    above.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    begins = [0.0] * len(names)
    for part in PARTS:
        lengths = [_part(chunk["step"], part) for chunk in chunks.values()]
        below.barh(names, lengths, left=begins, label=part)
        begins = [begin + length for begin, length in zip(begins, lengths, strict=True)]
    floors = [(chunk["floor"] or {}).get("step_ms") for chunk in chunks.values()]
    for row, floor in enumerate(floors):
        if floor is not None:
            below.plot([floor, floor], [row - 0.4, row + 0.4], color="black", label="floor" if row == 0 else None)
    below.set_xlabel("step at capacity, ms")
    below.invert_yaxis()
    below.legend(fontsize=8, ncols=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    figure.savefig(path, dpi=120)


def _streams(chunk: dict[str, Any], where: str) -> int | None:
    capacity = chunk["capacity"].get(where)
    return None if capacity is None else int(capacity["streams"])


def _part(step: dict[str, Any] | None, part: str) -> float:
    """Milliseconds of a part of a step."""
    if step is None:
        return 0.0
    if part == "search":
        return float(step["search_ms"] * step["rounds"])
    if part == "copies":
        return float(step["copy_in_ms"] + step["rounds"] * step["copy_out_ms"])
    return float(step[f"{part}_ms"])
