"""The benchmark of jobs: how fast and in how much memory long recordings are worked off, how good their text is, and
what live callers notice of it.

    python -m bench.jobs --folder FOLDER [--only throughput,memory,accuracy,latency]

Every part starts a server of its own, with the worker it has by default, and hands it recordings over HTTP. Prints
tables, the figures beside their targets, and one line of JSON. Figures are only worth something on a machine that does
nothing else meanwhile: jobs take what others leave.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench import interference, machine, whole
from bench.command import recordings_parser, run
from bench.corpus import Clip
from bench.footprint import watched
from bench.interference import JOBS
from bench.option import count, some_of
from bench.report import Check, Phases, figure, print_checks, print_table
from bench.server import Server, machine_cpu_seconds, start_server
from bench.submission import Desk, open_desk
from bench.tape import write_long, write_track
from stream_server.terminal import say

PARTS: Final = ("throughput", "memory", "accuracy", "latency")
LONGER: Final = 4  # times as long: the recording that must do with the same memory
RATIO: Final = 0.06  # of the length of a recording
MEMORY_MIB: Final = 572.0  # 600 MB
GROWTH_MIB: Final = 19.0  # 20 MB
JOB_SEC: Final = 2.0  # of recording in each job, for every second of a turn: more than the machine works off


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: ``minutes`` of the long recording, ``seconds`` and ``rounds`` of live speech."""

    parts: tuple[str, ...]
    minutes: float
    starts: int
    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Passage:
    """One long recording through a server that had nothing else to do."""

    audio_sec: float
    wall_sec: float  # from the first byte of the upload until the job was seen to be completed
    upload_sec: float
    segments: int
    cpu_sec: float  # of the server and its worker
    other_cores: float  # what the rest of this machine did meanwhile
    proportional_mib: float  # at most, of the server and its worker
    resident_mib: float
    memory_mib: float  # the first of the two where it is known

    @property
    def ratio(self) -> float:
        return self.wall_sec / self.audio_sec


async def measure(clips: Sequence[Clip], plan: Plan, phases: Phases) -> dict[str, Any]:
    """Measure, print the tables, and give everything as JSON can hold it.

    Raises:
        ChildError, LoadError: a process of the benchmark failed.
        SubmissionError: a job failed.
        OSError: no room for the recordings.
    """
    result: dict[str, Any] = {"bench": "jobs", **machine.describe()}
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if {"throughput", "memory"} & set(plan.parts):
            lengths = (1, LONGER) if "memory" in plan.parts else (1,)
            passages = [await _pass(clips, 60 * plan.minutes * times, folder, phases) for times in lengths]
            _print_passages(passages)
            checks += passage_checks(passages)
            result["long_recordings"] = [{"ratio": round(each.ratio, 4), **asdict(each)} for each in passages]
        if "accuracy" in plan.parts:
            texts = await _transcribe(clips, plan, folder, phases)
            texts.print()
            checks += texts.checks()
            result["accuracy"] = texts.to_dict()
        if "latency" in plan.parts:
            noticed = await _interfere(clips, plan, folder, phases)
            noticed.print()
            checks += noticed.checks()
            result["latency"] = noticed.to_dict()
    print_checks(checks)
    result["checks"] = [check.to_dict() for check in checks]
    return result


@asynccontextmanager
async def _served(clips: Sequence[Clip], folder: Path, phases: Phases) -> AsyncIterator[tuple[Server, Desk]]:
    """A server that has transcribed something, so that its worker is there."""
    advance = phases.begin("starting a server", 1)
    async with start_server() as server, open_desk(server.http_url) as desk:
        await desk.result(await desk.submit(write_long(folder / "first.flac", clips, 10.0).path), advance)
        yield server, desk


async def _pass(clips: Sequence[Clip], seconds: float, folder: Path, phases: Phases) -> Passage:
    phases.begin(f"writing {seconds / 60:.0f} minutes", 1)
    tape = await asyncio.to_thread(write_long, folder / "long.flac", clips, seconds)
    async with _served(clips, folder, phases) as (server, desk):
        advance = phases.begin(f"a job of {seconds / 60:.0f} minutes", 1)
        cpu, others, start = server.cpu_seconds(), machine_cpu_seconds(), time.monotonic()
        async with watched(server.process) as footprint:
            job = await desk.submit(tape.path)
            accepted = time.monotonic()
            transcript = await desk.result(job, advance)
            wall = time.monotonic() - start
        cpu = server.cpu_seconds() - cpu
        others = max(0.0, machine_cpu_seconds() - others - cpu) / wall
    return Passage(
        audio_sec=round(tape.seconds, 1),
        wall_sec=round(wall, 2),
        upload_sec=round(accepted - start, 2),
        segments=transcript.segments,
        cpu_sec=round(cpu, 2),
        other_cores=round(others, 3),
        proportional_mib=round(footprint.proportional, 1),
        resident_mib=round(footprint.resident, 1),
        memory_mib=round(footprint.mib, 1),
    )


def passage_checks(passages: Sequence[Passage]) -> list[Check]:
    """The first is the shorter one."""
    checks = []
    for passage in passages:
        name = f"{passage.audio_sec / 60:.0f} minutes"
        checks.append(Check(f"{name}: time / length", round(passage.ratio, 4), RATIO))
        checks.append(Check(f"{name}: memory of server and worker, peak", passage.memory_mib, MEMORY_MIB, unit="MiB"))
    for longer in passages[1:]:
        growth = round(longer.memory_mib - passages[0].memory_mib, 1)
        checks.append(Check(f"{longer.audio_sec / 60:.0f} minutes: more memory by", growth, GROWTH_MIB, unit="MiB"))
    return checks


def _print_passages(passages: Sequence[Passage]) -> None:
    rows = [
        (
            figure(passage.audio_sec / 60),
            figure(passage.wall_sec, "s", 1),
            figure(passage.ratio, "", 4),
            figure(passage.upload_sec, "s", 1),
            figure(passage.cpu_sec / passage.audio_sec, "", 4),
            figure(passage.other_cores, "", 2),
            figure(passage.proportional_mib or None, "MiB", 1),
            figure(passage.resident_mib, "MiB", 1),
            str(passage.segments),
        )
        for passage in passages
    ]
    headings = ("minutes", "time", "/ length", "upload", "CPU / length", "others' cores", "PSS", "RSS", "segments")
    print_table("A long recording as a job", headings, rows)


async def _transcribe(clips: Sequence[Clip], plan: Plan, folder: Path, phases: Phases) -> whole.WholeFiles:
    starts = whole.STARTS_MS[: plan.starts]
    async with _served(clips, folder, phases) as (_, desk):
        advance = phases.begin(f"{len(clips)} recordings, whole and one by one, {len(starts)} times", len(starts))
        return await whole.measure(desk, clips, starts, folder, advance)


async def _interfere(clips: Sequence[Clip], plan: Plan, folder: Path, phases: Phases) -> interference.Interference:
    speech = write_track(folder / "track.wav", clips)
    job = write_long(folder / "job.flac", clips, JOB_SEC * plan.seconds)
    async with _served(clips, folder, phases) as (server, desk):
        advance = phases.begin(f"live speech with and without {JOBS} jobs", 2 * plan.rounds)
        return await interference.measure(server, desk, speech, job, plan.seconds, plan.rounds, advance)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line. Exit status: 0 measured (whatever the figures), 1 failed, 2 wrong usage."""
    parser = recordings_parser("bench.jobs", __doc__)
    parser.add_argument("--only", type=some_of(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help=f"of a long recording; the longer has {LONGER} times"
    )
    parser.add_argument("--starts", type=count, default=len(whole.STARTS_MS), help="of the recordings, for accuracy")
    parser.add_argument("--seconds", type=float, default=60.0, help="of live speech, each time")
    parser.add_argument("--rounds", type=count, default=2, help="of live speech without and beside jobs")
    options = parser.parse_args(arguments)
    plan = Plan(options.only, options.minutes, options.starts, options.seconds, options.rounds)
    return run(options, lambda clips, display: measure(clips, possible(plan, clips), display))


def possible(plan: Plan, clips: Sequence[Clip]) -> Plan:
    """What of it can be measured with these recordings."""
    if "accuracy" not in plan.parts or all(clip.reference is not None for clip in clips):
        return plan
    say("no transcripts: word error rates are left out; --folder names recordings that have some")
    return replace(plan, parts=tuple(part for part in plan.parts if part != "accuracy"))


if __name__ == "__main__":
    sys.exit(main())
