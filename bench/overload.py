"""The benchmark of overload: what callers notice when three times as many of them come as the server carries.

    python -m bench.overload [--folder FOLDER] [--factor 3] [--seconds 60]

It starts a server, offers it more and more callers at once until some are refused, which is its capacity as it sees it
itself, and then ``factor`` times as many. All the time, and for a while after, newcomers try their luck one after the
other: they tell how the refused are refused, and how soon a new caller is served as usual. Prints tables, the figures
beside their targets, and one line of JSON. Figures are only worth something on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.command import recordings_parser, run
from bench.corpus import Clip
from bench.footprint import watched
from bench.load import Load, run_load
from bench.newcomer import Newcomer, newcomers, visit
from bench.option import count
from bench.playback import Recording
from bench.report import Check, Phases, figure, print_checks, print_table
from bench.server import Server, start_server
from bench.tape import write_track
from stream_protocol.errors import ErrorCode

FIRST: Final = 32  # callers that are offered at first
FINAL_MS: Final = 1500.0
NORMAL_MS: Final = 500.0  # wait for a final that a newcomer would call usual
RECOVERY_SEC: Final = 10.0
GROWTH_MIB: Final = 100.0  # more memory than at capacity, for sockets that are refused
SHARE: Final = 0.8  # of the capacity that must be used when more is offered
_AFTER_SEC: Final = 15.0  # for which newcomers go on when the load has ended
_PAUSE_SEC: Final = 5.0  # between two loads


@dataclass(frozen=True, slots=True)
class Plan:
    """``factor`` times the capacity for ``seconds``, ``step_sec`` for each try at it; ``most`` places in the server."""

    factor: float
    seconds: float
    step_sec: float
    most: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """Callers who came at once, and the most memory the server and its worker took meanwhile."""

    load: Load
    memory_mib: float

    @property
    def refused(self) -> int:
        return self.load.errors.get(ErrorCode.CAPACITY_FULL, 0)

    @property
    def admitted(self) -> int:
        return self.load.streams - self.refused

    @property
    def harmed(self) -> int:
        """Callers with another error than being refused, and finals that never came."""
        return sum(self.load.errors.values()) - self.refused + self.load.lost

    def row(self) -> tuple[str, ...]:
        latency = self.load.latency
        return (
            str(self.load.streams),
            str(self.admitted),
            str(self.refused),
            *(figure(latency["final"][share], "ms") for share in ("p50", "p95", "p99")),
            figure(latency["partial"]["p95"], "ms"),
            figure(self.load.partials_per_stream_sec * self.load.streams / max(1, self.admitted), "", 2),
            str(self.harmed),
            figure(self.memory_mib, "MiB"),
            figure(self.load.server_cores, "", 2),
            figure(self.load.other_cores, "", 2),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "admitted": self.admitted,
            "refused": self.refused,
            "memory_mib": self.memory_mib,
            **self.load.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Overload:
    """The tries at the capacity, the last of which was too much; then far too much, and those who came meanwhile."""

    tries: tuple[Crowd, ...]
    crowd: Crowd
    during: tuple[Newcomer, ...]
    after: tuple[Newcomer, ...]
    ended: float

    @property
    def capacity(self) -> int:
        return self.tries[-1].admitted

    @property
    def recovery_sec(self) -> float | None:
        """How long after the load the first newcomer came from whom on all were served as usual; None: none was."""
        recovered = None
        for newcomer in reversed(self.after):
            if newcomer.final_ms is None or newcomer.final_ms > NORMAL_MS:
                break
            recovered = newcomer.came - self.ended
        return None if recovered is None else round(recovered, 1)

    @property
    def refusals(self) -> list[Newcomer]:
        return [newcomer for newcomer in (*self.during, *self.after) if newcomer.is_refused]

    def checks(self) -> list[Check]:
        mute = sum(newcomer.retry_after is None for newcomer in self.refusals)
        growth = self.crowd.memory_mib - self.tries[-1].memory_mib
        return [
            Check("admitted: speech_end to final, p95", self.crowd.load.final_p95, FINAL_MS, unit="ms"),
            Check("admitted: errors and lost finals", self.crowd.harmed, 0),
            Check("admitted, of the capacity", self.crowd.admitted / self.capacity, SHARE, at_least=True),
            Check("newcomers refused without being told when to come back", mute, 0),
            Check("more memory than at capacity, peak", round(growth, 1), GROWTH_MIB, unit="MiB"),
            Check("a newcomer is served as usual after", self.recovery_sec, RECOVERY_SEC, unit="s"),
        ]

    def print(self) -> None:
        headings = (
            *("offered", "admitted", "refused", "final p50", "p95", "p99", "partial p95", "partials/s", "harmed"),
            *("memory", "server cores", "others"),
        )
        print_table("Callers at once", headings, [crowd.row() for crowd in (*self.tries, self.crowd)])
        rows = [_newcomer_row(name, of) for name, of in (("during", self.during), ("after", self.after))]
        print_table(
            "Newcomers, one a second", ("the load", "came", "refused", "told to wait", "final p50", "max"), rows
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "capacity": self.capacity,
            "recovery_sec": self.recovery_sec,
            "tries": [crowd.to_dict() for crowd in self.tries],
            "crowd": self.crowd.to_dict(),
            "newcomers": [
                {**asdict(newcomer), "came": round(newcomer.came - self.ended, 2)}
                for newcomer in (*self.during, *self.after)
            ],
        }


async def measure(clips: Sequence[Clip], plan: Plan, phases: Phases) -> dict[str, Any]:
    """Measure, print the tables, and give everything as JSON can hold it.

    Raises:
        ChildError, LoadError: a process of the benchmark failed.
        OSError: no room for the recordings.
    """
    result: dict[str, Any] = {"bench": "overload", **machine.describe()}
    phases.begin("starting a server", 1)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        track = write_track(Path(name) / "track.wav", clips)
        options = ("--max-sessions", str(plan.most))
        async with start_server(*options) as server:
            overload = await _overload(server, track, _short(clips), plan, phases)
    overload.print()
    checks = overload.checks()
    print_checks(checks)
    return {**result, **overload.to_dict(), "checks": [check.to_dict() for check in checks]}


async def _overload(server: Server, track: Path, short: Recording, plan: Plan, phases: Phases) -> Overload:
    await visit(server.url, short)  # so that nothing is done for the first time
    tries: list[Crowd] = []
    offered = FIRST
    while not tries or (not tries[-1].refused and offered <= plan.most):
        phases.begin(f"{offered} callers at once", 1)
        tries.append(await _crowd(server, offered, plan.step_sec, track))
        offered *= 2
        await asyncio.sleep(_PAUSE_SEC)
    offered = round(plan.factor * tries[-1].admitted)
    phases.begin(f"{offered} callers at once, {plan.factor:g} times as many as are admitted", 1)
    began = time.monotonic()
    async with newcomers(server.url, short) as queue:
        crowd = await _crowd(server, offered, plan.seconds, track)
        ended = time.monotonic()
        await asyncio.sleep(_AFTER_SEC)
    return Overload(
        tuple(tries), crowd, tuple(queue.between(began, ended)), tuple(queue.between(ended)), round(ended, 3)
    )


async def _crowd(server: Server, callers: int, seconds: float, track: Path) -> Crowd:
    async with watched(server.process) as footprint:
        load = await run_load(server, callers, seconds, track)
    return Crowd(load, round(footprint.mib, 1))


def _short(clips: Sequence[Clip]) -> Recording:
    """The shortest recording, for newcomers: their answer should come soon."""
    return Recording(min(clips, key=lambda clip: clip.seconds).audio.tobytes())


def _newcomer_row(name: str, those: Sequence[Newcomer]) -> tuple[str, ...]:
    refused = [each for each in those if each.is_refused]
    told = sorted(each.retry_after for each in refused if each.retry_after is not None)
    waits = sorted(each.final_ms for each in those if each.final_ms is not None)
    return (
        name,
        str(len(those)),
        str(len(refused)),
        f"{told[0]:.0f} to {told[-1]:.0f} s" if told else "-",
        figure(waits[len(waits) // 2] if waits else None, "ms"),
        figure(waits[-1] if waits else None, "ms"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line. Exit status: 0 measured (whatever the figures), 1 failed, 2 wrong usage."""
    parser = recordings_parser("bench.overload", __doc__)
    parser.add_argument("--factor", type=float, default=3.0, help="times the capacity that is offered")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which it is")
    parser.add_argument("--step-seconds", type=float, default=15.0, help="of each try at the capacity")
    parser.add_argument("--max-sessions", type=count, default=2000, help="of the server: more than it carries")
    options = parser.parse_args(arguments)
    plan = Plan(options.factor, options.seconds, options.step_seconds, options.max_sessions)
    return run(options, lambda clips, display: measure(clips, plan, display))


if __name__ == "__main__":
    sys.exit(main())
