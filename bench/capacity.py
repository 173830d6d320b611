"""How many live streams the server carries: more and more of them until finals come late, and beyond.

Finals must be in time up to ``LIMIT_MS``; above that the server has to bend and not to break: partials thin out, all
finals arrive. So the load grows on past the limit, to ``BEYOND`` streams at least, and as long as it bends well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.load import Load, run_load
from bench.report import Check, figure, print_table
from bench.server import Server
from stream_server.ramp import LIMIT_MS

STREAMS: Final = (8, 16, 24, 32, 40, 50, 60, 80, 100)
BEYOND: Final = 60
BENT_MS: Final = 3000.0  # p95 from speech_end to final that is still bearable
_QUIET_CORES: Final = 0.2  # what others may use without being mentioned
_PAUSE_SEC: Final = 2.0  # between two loads, so that one does not pay for the other


@dataclass(frozen=True, slots=True)
class Capacity:
    """One load for each number of streams."""

    loads: tuple[Load, ...]

    @property
    def streams(self) -> int:
        """The most streams up to which every load had its finals in time, no error and no final lost."""
        held = 0
        for load in self.loads:
            if load.final_p95 is None or load.final_p95 > LIMIT_MS or not load.complete:
                break
            held = load.streams
        return held

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"streams": self.streams, "loads": [load.to_dict() for load in self.loads]}

    def checks(self) -> list[Check]:
        """Of the loads that the targets speak of and that were tried."""
        checks = []
        targets = {24: (LIMIT_MS, ""), 40: (LIMIT_MS, ", aim"), 60: (BENT_MS, ""), 100: (BENT_MS, ", aim")}
        for load in self.loads:
            if load.streams in targets:
                limit, kind = targets[load.streams]
                name = f"{load.streams} streams{kind}"
                checks.append(Check(f"{name}: speech_end to final, p95", load.final_p95, limit, unit="ms"))
                checks.append(Check(f"{name}: errors and lost finals", sum(load.errors.values()) + load.lost, 0))
        return checks

    def print(self) -> None:
        rows = [
            (
                str(load.streams),
                *(figure(load.latency["final"][share], "ms") for share in ("p50", "p95", "p99")),
                figure(load.latency["first_partial"]["p50"], "ms"),
                figure(load.latency["partial"]["p95"], "ms"),
                figure(load.partials_per_stream_sec, "", 2),
                str(load.latency["final"]["count"]),
                str(load.lost),
                str(sum(load.errors.values())),
                figure(load.server_cores, "", 2),
                figure(load.generator_cores, "", 2),
                figure(load.other_cores, "", 2),
                figure(load.server_waited, "", 2),
            )
            for load in self.loads
        ]
        headings = (
            *("streams", "final p50", "p95", "p99", "1st partial p50", "partial p95", "partials/s", "finals"),
            *("lost", "errors", "server cores", "load", "others", "waited"),
        )
        print_table("Capacity: continuous speech at real speed", headings, rows)
        if (others := max(load.other_cores for load in self.loads)) > _QUIET_CORES:
            print(f"Other programs used up to {others:.1f} cores meanwhile: without them the server carries more.\n")


async def measure(
    server: Server, numbers: Sequence[int], seconds: float, track: Path, tell: Callable[[Load], None]
) -> Capacity:
    """Load the server with each number of streams in turn, until it is clear that more is too much.

    Raises:
        LoadError: the load generator failed.
    """
    loads: list[Load] = []
    for streams in numbers:
        load = await run_load(server, streams, seconds, track)
        loads.append(load)
        tell(load)
        if streams >= BEYOND and (load.final_p95 is None or load.final_p95 > BENT_MS):
            break
        await asyncio.sleep(_PAUSE_SEC)
    return Capacity(tuple(loads))
