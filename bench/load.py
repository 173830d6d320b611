"""One run of the load generator against the server, with what it cost. It does not judge what it sees."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.server import Server, machine_cpu_seconds
from stream_server.ramp import measure


@dataclass(frozen=True, slots=True)
class Load:
    """``streams`` callers at real speed for ``seconds`` each. CPU is in cores: 1.0 is one core in use all the time."""

    streams: int
    seconds: float
    audio_sec: float
    wall_sec: float
    server_cores: float
    generator_cores: float
    other_cores: float  # what the rest of this machine did meanwhile
    server_waited: float | None  # of the server's threads, for a core to run on; None where that is unknown
    server_cpu_per_sec: float  # CPU-seconds per second of audio
    server_memory_mib: float
    partials_per_stream_sec: float
    errors: dict[str, int]
    lost: int  # segments without a final
    send_lag_p95_ms: float | None
    latency: dict[str, Any]  # first_partial, partial, final: count, p50, p95, p99, max in ms

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def final_p95(self) -> float | None:
        value = self.latency["final"]["p95"]
        return None if value is None else float(value)

    @property
    def complete(self) -> bool:
        """No error, and no final lost."""
        return not self.errors and not self.lost


@dataclass(frozen=True, slots=True)
class _Usage:
    """Seconds since the start of the server, and of the machine."""

    server: float
    waiting: float | None
    machine: float

    @classmethod
    def of(cls, server: Server) -> _Usage:
        return cls(server.cpu_seconds(), server.waiting_seconds(), machine_cpu_seconds())


async def run_load(server: Server, streams: int, seconds: float, track: Path) -> Load:
    """Play ``seconds`` of the WAV file ``track`` into each of ``streams`` sessions, from a process of its own.

    Raises:
        LoadError: the load generator failed.
    """
    before, began = _Usage.of(server), time.monotonic()
    results = [step.result async for step in measure(server.url, track, [streams], seconds)]
    after, wall = _Usage.of(server), time.monotonic() - began
    cpu, machine = after.server - before.server, after.machine - before.machine
    waited = None
    if before.waiting is not None and after.waiting is not None:
        waited = round((after.waiting - before.waiting) / wall, 3)
    (result,) = results
    latency = result["latency"]
    return Load(
        streams=streams,
        seconds=seconds,
        audio_sec=result["audio_sec"],
        wall_sec=round(wall, 2),
        server_cores=round(cpu / wall, 3),
        generator_cores=round(result["cpu_sec"] / wall, 3),
        other_cores=round(max(0.0, machine - cpu - result["cpu_sec"]) / wall, 3),
        server_waited=waited,
        server_cpu_per_sec=round(cpu / result["audio_sec"], 4) if result["audio_sec"] else 0.0,
        server_memory_mib=round(server.memory_mib(), 1),
        partials_per_stream_sec=round(latency["partials"] / streams / seconds, 3),
        errors=result["errors"],
        lost=latency["lost_segments"],
        send_lag_p95_ms=result["send_lag_ms"]["p95"],
        latency={name: latency[name] for name in ("first_partial", "partial", "final")},
    )
