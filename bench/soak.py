"""Good clients beside hostile ones for half an hour: does the server grow, and do the good ones notice?

    python -m bench.soak --folder FOLDER --minutes 30 --hostile 0.1

Live sessions, live sessions whose network breaks, and transcriptions over HTTP; and of all clients a share that sends
nonsense, floods, drips, holds connections half open, sends 16 MB at once, or never reads. Memory (PSS), descriptors and
threads of the server and of its worker are looked at every few seconds, and once more when all have gone. Prints a
table, the figures beside their targets, writes a picture of the memory, and ends with one line of JSON.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
import psutil

from bench import guest, machine
from bench.chaos import takes_of
from bench.command import recordings_parser, run
from bench.corpus import Clip
from bench.hostile import ATTACKS, Attack, attack
from bench.option import RESULTS, count
from bench.progress import ProgressDisplay
from bench.report import Advance, Check, figure, print_checks, print_table
from bench.server import Server, start_server
from bench.soak_picture import draw
from bench.tape import write_joined
from stream_server.jobs.database import DATABASE_NAME

SAMPLE_SEC: Final = 5.0
WARM_UP: Final = 0.2
"""Share of the time in which growth does not count."""
SETTLE_SEC: Final = 40.0
"""For what hostile clients left: longer than a session waits for its client."""
SESSION_SEC: Final = 30.0
SLOPE_MB: Final = 1.0
GROWTH: Final = 2
"""Descriptors and threads that may be more at the end than before: the pools of libraries."""
WARMING_SEC: Final = 60.0
"""For all clients before the first look: pools keep what was needed at once, and that takes a while to happen."""
POOLED: Final = 6
"""Of one connection more in the server's pool and one in its worker's: the file, its log, and the index of that."""
SHOWN: Final = 20
GAUGES: Final = (
    "stream_server_sessions",
    "stream_server_connections",
    "stream_server_engine_streams",
    "stream_server_http_requests_open",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment, its worker included where it has one."""

    second: float
    memory_mb: float
    descriptors: int  # but for those of the database
    database: int  # descriptors of its files, of which its pools keep a bounded number open
    threads: int


def take_sample(server: Server, began: float) -> Sample:
    """PSS: what is shared counts for each who shares it in part."""
    memory, descriptors, database, threads = 0, 0, 0, 0
    for process in (server.process, *server.process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            memory += process.memory_full_info().pss
            descriptors += process.num_fds()
            database += sum(DATABASE_NAME in file.path for file in process.open_files())
            threads += process.num_threads()
    return Sample(time.monotonic() - began, memory / 1e6, descriptors - database, database, threads)


def slope_per_minute(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float | None:
    """By least squares."""
    if len(samples) < 3:
        return None
    line = np.polyfit([sample.second / 60 for sample in samples], [value(sample) for sample in samples], 1)
    return round(float(line[0]), 3)


async def held(server: Server) -> int:
    """Sessions, connections, streams and requests that the server believes in, by its own metrics."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{server.http_url}/metrics")).text
    found = [re.search(rf"^{name} ([0-9.e+]+)$", text, re.MULTILINE) for name in GAUGES]
    # This very request is one of them.
    return sum(round(float(match[1])) for match in found if match) - 1


async def _crowd(
    server: Server, takes: Sequence[bytes], recording: Path, streams: int, hostile: int, seed: int, seconds: float
) -> tuple[guest.Book, dict[str, int]]:
    """All clients for so long, and until the last sessions have ended."""
    address = server.http_url.removeprefix("http://")
    book, stopping = guest.Book(), asyncio.Event()
    attacks = {kind.__name__: 0 for kind in ATTACKS}

    async def misbehave(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        todo: list[Attack] = []
        while not stopping.is_set():
            todo = todo or chance.sample(ATTACKS, len(ATTACKS))
            kind = todo.pop()
            await attack(address, kind, chance)
            attacks[kind.__name__] += 1

    good = [
        *(guest.speak(server.url, takes, number, stopping, book) for number in range(streams)),
        *(guest.speak_over_a_bad_network(address, takes, number, stopping, book) for number in range(streams)),
        guest.transcribe(server.http_url, recording, stopping, book),
    ]
    work = [asyncio.create_task(each) for each in (*good, *(misbehave(number) for number in range(hostile)))]
    await asyncio.sleep(seconds)
    stopping.set()
    await asyncio.gather(*work)
    return book, attacks


async def measure(
    clips: Sequence[Clip],
    minutes: float,
    share: float,
    streams: int,
    seed: int,
    output: Path,
    display: ProgressDisplay,
) -> dict[str, Any]:
    """A round with every attack, a minute of everything, a rest; then the soak, and a rest.

    Prints, and gives everything as JSON can hold it.

    Raises:
        ChildError: the server did not start.
    """
    good = 2 * streams + 1
    hostile = math.ceil(good * share / (1 - share)) if share else 0
    takes = takes_of(clips, SESSION_SEC)
    samples: list[Sample] = []
    display.begin("starting a server", 1)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        recording = Path(folder) / "speech.flac"
        write_joined(recording, clips[:1], 0.5)
        async with start_server() as server:
            display.begin("every attack once", 1)
            address = server.http_url.removeprefix("http://")
            if hostile:
                await asyncio.gather(*(attack(address, kind, random.Random(seed)) for kind in ATTACKS))
            await _crowd(server, takes, recording, streams, hostile, seed, WARMING_SEC)
            await asyncio.sleep(SETTLE_SEC)
            began = time.monotonic()
            before, held_before = take_sample(server, began), await held(server)
            watching = asyncio.create_task(_watch(server, began, samples, display.begin("soaking", 60 * minutes)))
            book, attacks = await _crowd(server, takes, recording, streams, hostile, seed, 60 * minutes)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            display.begin("resting", 1)
            await asyncio.sleep(SETTLE_SEC)
            after, held_after = take_sample(server, began), await held(server)
    result = {
        "bench": "soak",
        **machine.describe(),
        "minutes": minutes,
        "good_clients": good,
        "hostile_clients": hostile,
        "counts": dict(book.counts),
        "attacks": attacks,
        "problems": book.problems[:SHOWN],
        "before": asdict(before) | {"held": held_before},
        "after": asdict(after) | {"held": held_after},
        "samples": [asdict(sample) for sample in samples],
    }
    warm = [sample for sample in samples if sample.second >= WARM_UP * 60 * minutes]
    slope = slope_per_minute(warm, lambda sample: sample.memory_mb)
    checks = [
        Check("memory slope after warm-up", slope, SLOPE_MB, unit="MB/min"),
        Check("problems of good clients", len(book.problems), 0),
        Check("descriptors more after than before", after.descriptors - before.descriptors, GROWTH),
        Check("descriptors of the database more after than before", after.database - before.database, POOLED),
        Check("threads more after than before", after.threads - before.threads, GROWTH),
        Check("sessions, connections, streams and requests left", held_after, 0),
        Check("good sessions that were cut and finished", book.counts[guest.CUT], 1, at_least=True),
    ]
    _print(samples, before, after)
    counts = {**book.counts, **attacks}
    print_table("What was done", ("", "times"), [(name, str(number)) for name, number in counts.items()])
    print_checks(checks)
    title = f"{good} good and {hostile} hostile clients, {minutes:g} minutes"
    _draw(samples, WARM_UP * minutes, slope, title, output)
    return result | {"slope_mb_per_min": slope, "checks": [check.to_dict() for check in checks]}


async def _watch(server: Server, began: float, samples: list[Sample], advance: Advance) -> None:
    while True:
        await asyncio.sleep(SAMPLE_SEC)
        samples.append(take_sample(server, began))
        advance(SAMPLE_SEC)


def _draw(samples: Sequence[Sample], warm_up: float, slope: float | None, title: str, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    points = [(sample.second / 60, sample.memory_mb, sample.descriptors) for sample in samples]
    draw(points, warm_up, slope, title, output / f"soak-{time.strftime('%Y-%m-%dT%H%M%S')}.png")


def _print(samples: Sequence[Sample], before: Sample, after: Sample) -> None:
    step = max(1, len(samples) // 10)
    chosen = [("before", before), *((f"{one.second / 60:.1f} min", one) for one in samples[::step]), ("after", after)]
    rows = [
        (name, figure(one.memory_mb, "MB", 1), str(one.descriptors), str(one.database), str(one.threads))
        for name, one in chosen
    ]
    print_table("The server and its worker", ("", "memory", "descriptors", "of the database", "threads"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit status."""
    parser = recordings_parser("bench.soak", __doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--hostile", type=float, default=0.1, help="share of all clients, below 1")
    parser.add_argument("--streams", type=count, default=4, help="good live clients of each of two kinds")
    parser.add_argument("--seed", type=int, default=1, help="of what the hostile ones do")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the picture")
    options = parser.parse_args(arguments)
    logging.getLogger("stream_client").setLevel(logging.ERROR)  # that connections break is the point
    if not 0 <= options.hostile < 1:
        parser.error("--hostile is a share: from 0 to below 1")
    return run(
        options,
        lambda clips, display: measure(
            clips, options.minutes, options.hostile, options.streams, options.seed, options.output, display
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
