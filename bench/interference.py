"""What live callers notice of jobs: the same load of live speech with and without jobs being worked off, in turns.

Turns, because a machine is not the same from one minute to the next. Knows neither what the jobs say nor how fast they
should be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Final

from bench.load import Load, run_load
from bench.report import Advance, Check, figure, print_table
from bench.server import Server
from bench.submission import Desk, Standing
from bench.tape import Tape

STREAMS: Final = 8
JOBS: Final = 100
RISE: Final = 1.2
_PAUSE_SEC: Final = 3.0  # for what was given up to end, and for what is handed in to begin


@dataclass(frozen=True, slots=True)
class Turn:
    """One load of live speech; ``before`` and ``after`` it how far the jobs were, None where there were none."""

    load: Load
    before: Standing | None = None
    after: Standing | None = None


@dataclass(frozen=True, slots=True)
class Interference:
    """The turns in their order; ``job_sec`` is the length of each of the jobs."""

    turns: tuple[Turn, ...]
    job_sec: float

    @property
    def rise(self) -> float | None:
        """How many times the p95 from ``speech_end`` to final is what it is without jobs, means over the turns."""
        alone, beside = self._final_p95(jobs=False), self._final_p95(jobs=True)
        return round(beside / alone, 3) if alone and beside is not None else None

    @property
    def job_speed(self) -> float:
        """Seconds of recordings worked off in a second, while live callers spoke."""
        done = wall = 0.0
        for turn in self._turns(jobs=True):
            if turn.before is not None and turn.after is not None:
                done += (turn.after.share - turn.before.share) * JOBS * self.job_sec
                wall += turn.load.wall_sec
        return done / wall if wall else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rise": self.rise,
            "job_speed": round(self.job_speed, 1),
            "job_sec": self.job_sec,
            "turns": [
                {
                    "jobs_before": None if turn.before is None else turn.before.unfinished,
                    "jobs_after": None if turn.after is None else turn.after.unfinished,
                    **turn.load.to_dict(),
                }
                for turn in self.turns
            ],
        }

    def checks(self) -> list[Check]:
        left = [turn.after.unfinished for turn in self.turns if turn.after is not None]
        lost = sum(sum(turn.load.errors.values()) + turn.load.lost for turn in self.turns)
        return [
            Check(f"{STREAMS} live streams: p95 of finals beside {JOBS} jobs / without", self.rise, RISE),
            Check("live streams: errors and lost finals", lost, 0),
            Check("jobs left at the end of a turn", min(left, default=None), 1, at_least=True),
        ]

    def print(self) -> None:
        rows = [
            (
                "none" if turn.before is None else str(turn.before.unfinished),
                *(figure(turn.load.latency["final"][share], "ms") for share in ("p50", "p95", "p99")),
                figure(turn.load.latency["first_partial"]["p95"], "ms"),
                figure(turn.load.latency["partial"]["p95"], "ms"),
                figure(turn.load.partials_per_stream_sec, "", 2),
                str(turn.load.latency["final"]["count"]),
                figure(turn.load.send_lag_p95_ms, "ms", 1),
                figure(turn.load.server_cores, "", 2),
                figure(turn.load.other_cores, "", 2),
                figure(turn.load.server_waited, "", 2),
            )
            for turn in self.turns
        ]
        headings = (
            *("jobs", "final p50", "p95", "p99", "1st partial p95", "partial p95", "partials/s", "finals"),
            *("send lag p95", "cores", "others", "waited"),
        )
        print_table(
            f"{STREAMS} live streams; jobs done meanwhile: {self.job_speed:.1f} times real time", headings, rows
        )

    def _turns(self, *, jobs: bool) -> list[Turn]:
        return [turn for turn in self.turns if (turn.before is not None) == jobs]

    def _final_p95(self, *, jobs: bool) -> float | None:
        found = [turn.load.final_p95 for turn in self._turns(jobs=jobs)]
        known = [value for value in found if value is not None]
        return mean(known) if known and len(known) == len(found) else None


async def measure(
    server: Server, desk: Desk, speech: Path, job: Tape, seconds: float, rounds: int, advance: Advance
) -> Interference:
    """``rounds`` times ``seconds`` without jobs, and the same beside jobs of ``job`` each; ``speech`` is a WAV file.

    Raises:
        LoadError, SubmissionError: the load generator failed, or a job did.
    """
    turns: list[Turn] = []
    for _ in range(rounds):
        turns.append(Turn(await run_load(server, STREAMS, seconds, speech)))
        advance(1)
        jobs = await asyncio.gather(*(desk.submit(job.path) for _ in range(JOBS)))
        turns.append(await _beside(server, desk, jobs, seconds, speech))
        advance(1)
        await desk.delete(jobs)
        await asyncio.sleep(_PAUSE_SEC)
    return Interference(tuple(turns), round(job.seconds, 1))


async def _beside(server: Server, desk: Desk, jobs: Sequence[str], seconds: float, speech: Path) -> Turn:
    await asyncio.sleep(_PAUSE_SEC)
    before = await desk.standing(jobs)
    load = await run_load(server, STREAMS, seconds, speech)
    return Turn(load, before, await desk.standing(jobs))
