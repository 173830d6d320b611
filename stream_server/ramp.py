"""How many live streams a server carries: grows the load until finals come late. It does not know the server inside."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_client.load import API_KEY_VARIABLE

LIMIT_MS: Final = 1000.0  # p95 from speech_end to final beyond which captions are late
HEADINGS: Final = ("streams", "first partial p50", "partial p95", "final p50", "final p95", "lost", "errors")


class LoadError(Exception):
    """The load generator could not run."""


@dataclass(frozen=True, slots=True)
class Step:
    """The load generator's result for one number of streams, as ``stream_client.load`` prints it."""

    streams: int
    result: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Finals in time, none lost, no error."""
        latency = self.result["latency"]
        p95 = latency["final"]["p95"]
        return p95 is not None and p95 <= LIMIT_MS and not latency["lost_segments"] and not self.result["errors"]

    def row(self) -> str:
        """Cells under ``HEADINGS``, as wide as these."""
        latency = self.result["latency"]
        cells = (
            str(self.streams),
            _ms(latency["first_partial"]["p50"]),
            _ms(latency["partial"]["p95"]),
            _ms(latency["final"]["p50"]),
            _ms(latency["final"]["p95"]),
            str(latency["lost_segments"]),
            str(sum(self.result["errors"].values())),
        )
        return "  ".join(cell.rjust(max(len(name), 8)) for cell, name in zip(cells, HEADINGS, strict=True))


def heading() -> str:
    """The line above the rows."""
    return "  ".join(name.rjust(max(len(name), 8)) for name in HEADINGS)


def counts(largest: int) -> list[int]:
    """Numbers of streams to try, up to ``largest``: 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, ..."""
    tried = [1, 2, 4]
    power = 8
    while power <= largest:
        tried += [power, power + power // 2]
        power *= 2
    return [count for count in tried if count <= largest]


async def measure(
    url: str, file: Path, numbers: Sequence[int], seconds: float, api_key: str | None = None
) -> AsyncIterator[Step]:
    """Run the load generator, in a process of its own, for each number of streams until one does not hold.

    Raises:
        LoadError: the load generator failed.
    """
    for streams in numbers:
        options = ["--streams", str(streams), "--seconds", str(seconds)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream_client.load", url, str(file), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ if api_key is None else {**os.environ, API_KEY_VARIABLE: api_key},
        )
        try:
            written, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise LoadError(f"the load generator failed: {said.decode(errors='replace').strip()}")
        step = Step(streams, json.loads(written))
        yield step
        if not step.holds:
            return


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
