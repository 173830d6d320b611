"""A long conversation as a job of a server: what the server and its worker take, how often the progress moves, and how
soon another one is gone that is cancelled on its way."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np

from bench.conversation import converse
from bench.footprint import watched
from bench.labelled_speech import Audio
from bench.report import Advance, Check, Phases, figure, print_table
from bench.server import Server, start_server
from bench.submission import SubmissionError
from bench.turn_score import TurnScore
from stream_server.recording import write_wav
from stream_server.speakers.turn import Turn

SPEAKERS: Final = 4
MEMORY_MIB: Final = 763.0  # 800 MB, of server and worker together
LEAST_STEPS: Final = 50
CANCEL_AT: Final = 30
"""Percent."""
MOST_ERROR: Final = 15.0
_ASR: Final = "/asr2"
_JOB: Final = "/v3/asr/jobs"
_POLL_SEC: Final = 0.25
_PATIENCE_SEC: Final = 600.0
_SETTLE_SEC: Final = 3.0
_IDLE_CPU: Final = 0.5


@dataclass(frozen=True, slots=True)
class Long:
    """``steps``: how often the share that is done was seen to move. ``idle_sec``: from the cancelling until the worker
    had nothing to do any more."""

    audio_sec: float
    wall_sec: float
    memory_mib: float
    plain_mib: float
    steps: int
    error: float
    speakers: int
    segments: int
    idle_sec: float

    def checks(self) -> list[Check]:
        return [
            Check("long: DER", 100 * self.error, MOST_ERROR, unit="%"),
            Check("long: memory of server and worker", self.memory_mib, MEMORY_MIB, unit="MiB"),
            Check("long: steps of progress", float(self.steps), LEAST_STEPS, at_least=True),
            Check("long: seconds from cancel to rest", self.idle_sec, 15.0, unit="s"),
        ]


async def measure(
    speakers: Mapping[str, Sequence[Audio]], minutes: float, rng: np.random.Generator, phases: Phases
) -> Long:
    """One conversation of four, three times: without speakers, with them, and cancelled."""
    phases.begin(f"making {minutes:g} minutes", 1)
    conversation = await asyncio.to_thread(converse, speakers, SPEAKERS, 60 * minutes, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        await asyncio.to_thread(write_wav, path, (conversation.audio * 32767).astype("<i2").tobytes())
        async with _served() as (server, client):
            advance = phases.begin("a job without speakers", 1)
            async with watched(server.process) as plain:
                await _finished(client, await _submitted(client, path, "Disabled"), advance)
        async with _served() as (server, client):
            advance = phases.begin("a job with speakers", 1)
            began = time.monotonic()
            async with watched(server.process) as footprint:
                job = await _submitted(client, path, "Enabled")
                steps = await _finished(client, job, advance)
            wall = time.monotonic() - began
            body = await _asked(client, "GET", f"{_JOB}/{job}/result")
            phases.begin("a job that is cancelled", 1)
            idle = await _cancelled(server, client, path)
    turns = [Turn(round(1000 * t["start"]), round(1000 * t["end"]), t["speaker"]) for t in body["turns"]]
    score = TurnScore()
    long = Long(
        audio_sec=round(conversation.seconds, 1),
        wall_sec=round(wall, 1),
        memory_mib=round(footprint.mib, 1),
        plain_mib=round(plain.mib, 1),
        steps=steps,
        error=score.add(conversation, turns),
        speakers=len({turn.speaker for turn in turns}),
        segments=len(body["segments"]),
        idle_sec=round(idle, 1),
    )
    print_table(
        f"A job of {minutes:g} minutes, {SPEAKERS} speakers",
        ("DER", "speakers", "segments", "wall", "memory", "without speakers", "steps", "rest after cancel"),
        [
            (
                figure(100 * long.error, "%", 1),
                str(long.speakers),
                str(long.segments),
                figure(long.wall_sec, "s"),
                figure(long.memory_mib, "MiB"),
                figure(long.plain_mib, "MiB"),
                str(long.steps),
                figure(long.idle_sec, "s", 1),
            )
        ],
    )
    return long


@asynccontextmanager
async def _served() -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    async with (
        start_server() as server,
        httpx2.AsyncClient(base_url=server.http_url, timeout=_PATIENCE_SEC, trust_env=False) as client,
    ):
        yield server, client


async def _asked(client: httpx2.AsyncClient, method: str, path: str, **content: Any) -> dict[str, Any]:
    response = await client.request(method, path, **content)
    if not response.is_success:
        raise SubmissionError(f"{method} {path}: HTTP {response.status_code}: {response.text[:500]}")
    body: dict[str, Any] = response.json()
    return body


async def _submitted(client: httpx2.AsyncClient, path: Path, diarization: str) -> str:
    query = {"outfmt": "json", "diarization": diarization}
    body = await _asked(client, "POST", _ASR, params=query, content=await asyncio.to_thread(path.read_bytes))
    return str(body["job_id"])


async def _percent(client: httpx2.AsyncClient, job: str) -> int:
    """How far a job is; 100 once it is completed."""
    body = await _asked(client, "GET", f"{_JOB}/{job}")
    if body["status"] == "failed":
        raise SubmissionError(f"a job failed: {body['error']}")
    return 100 if body["status"] == "completed" else int((body["progress"] or {"percent": 0})["percent"])


async def _finished(client: httpx2.AsyncClient, job: str, advance: Advance) -> int:
    """Wait for a job; how often its percentage was seen to move."""
    steps = last = 0
    while last < 100:
        await asyncio.sleep(_POLL_SEC)
        percent = await _percent(client, job)
        steps += percent != last
        advance((percent - last) / 100)
        last = percent
    return steps


async def _cancelled(server: Server, client: httpx2.AsyncClient, path: Path) -> float:
    """Seconds until nothing is done any more for a job that was deleted on its way."""
    job = await _submitted(client, path, "Enabled")
    percent = 0
    while percent < CANCEL_AT:
        await asyncio.sleep(_POLL_SEC)
        percent = await _percent(client, job)
    began = time.monotonic()
    await _asked(client, "DELETE", f"/v1/transcriptions/{job}")
    while True:
        before, at = server.cpu_seconds(), time.monotonic()
        await asyncio.sleep(_SETTLE_SEC)
        if (server.cpu_seconds() - before) / (time.monotonic() - at) < _IDLE_CPU:
            return at - began
