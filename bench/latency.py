"""How long a caller waits who has the server for himself."""

from __future__ import annotations

from typing import Any

from bench.load import Load
from bench.report import Check, figure, print_table

_KINDS = {
    "first_partial": "start of speech to first partial",
    "partial": "audio to partial",
    "final": "speech_end to final",
}


def checks(load: Load) -> list[Check]:
    latency: dict[str, Any] = load.latency
    return [
        Check("alone: speech_end to final, p95", load.final_p95, 150, unit="ms"),
        Check("alone: start of speech to first partial, p95", latency["first_partial"]["p95"], 800, unit="ms"),
    ]


def print_latency(load: Load) -> None:
    rows = [
        (
            name,
            str(load.latency[kind]["count"]),
            *(figure(load.latency[kind][share], "ms") for share in ("p50", "p95", "p99", "max")),
        )
        for kind, name in _KINDS.items()
    ]
    print_table("Latency, one stream", ("", "count", "p50", "p95", "p99", "max"), rows)
