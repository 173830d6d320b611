"""An hour of speech through one live session, as fast as the server takes it: memory, accuracy and times to the end.

    python -m bench.hour --folder FOLDER --minutes 60

The recordings are played in a loop, with silence between them. Prints a table for every ten minutes, and one line of
JSON. Where it is not known what is said in a recording, its first hearing stands in as the reference.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from bench import machine
from bench.command import recordings_parser, run
from bench.corpus import SAMPLE_RATE, Clip
from bench.progress import ProgressDisplay
from bench.report import Advance, Check, figure, print_checks, print_table
from bench.score import score
from bench.server import Server, start_server
from stream_client import ReconnectPolicy, StreamClient
from stream_protocol.events import Done, FinalSegment, Partial
from stream_protocol.transcript import join_text

GAP_SEC: Final = 1.5  # of silence after each recording, at least: every one begins a segment of its own
BLOCK_MIN: Final = 10
GROWTH_MIB: Final = 19.0  # 20 MB
DRIFT_POINTS: Final = 1.0  # how much worse the last block may be than the first
FRAME_SEC: Final = 0.5
AHEAD_SEC: Final = 60.0  # how far the sender may be ahead of what it has heard of: pings wait behind unread audio


@dataclass(frozen=True, slots=True)
class Playing:
    """One recording played once, and where it lies in the session: [start, end) in ms."""

    clip: Clip
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """Ten minutes: word error rate in percent, and the server's memory when the last of it was final."""

    minutes: int
    wer: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What one hour gave."""

    finals: tuple[FinalSegment, ...]
    memory: tuple[tuple[int, float], ...]  # (offset in ms, MiB)
    before_mib: float
    wall_sec: float
    cpu_sec: float
    complete: bool


def schedule(clips: Sequence[Clip], minutes: float) -> list[Playing]:
    """Whole loops over the recordings, until ``minutes`` are full."""
    playings: list[Playing] = []
    at = 0
    while at < minutes * 60_000:
        for clip in clips:
            end = at + 1000 * math.ceil(clip.seconds + GAP_SEC)  # whole frames of any detector
            playings.append(Playing(clip, at, end))
            at = end
    return playings


async def listen(server: Server, playings: Sequence[Playing], advance: Advance) -> Heard:
    """Send everything as fast as it is taken, and collect the finals.

    Raises:
        StreamClientError: the session broke.
    """
    finals: list[FinalSegment] = []
    memory: list[tuple[int, float]] = []
    before, cpu, start = server.memory_mib(), server.cpu_seconds(), time.monotonic()
    complete = False
    pace = _Pace()
    async with StreamClient(
        server.url, dtype="int16", max_connection_duration=86_400, reconnect=ReconnectPolicy(give_up_sec=0)
    ) as client:
        sender = asyncio.create_task(_send(client, playings, pace))
        try:
            async for event in client:
                if isinstance(event, Partial | FinalSegment):
                    pace.heard((event.offset_ms + event.duration_ms) / 1000)
                if isinstance(event, FinalSegment):
                    advance((event.offset_ms - (finals[-1].offset_ms if finals else 0)) / 1000)
                    finals.append(event)
                    memory.append((event.offset_ms, server.memory_mib()))
                complete |= isinstance(event, Done)
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
    wall = time.monotonic() - start
    return Heard(tuple(finals), tuple(memory), before, wall, server.cpu_seconds() - cpu, complete)


class _Pace:
    """Holds the sender back to `AHEAD_SEC` before what the server has spoken of."""

    def __init__(self) -> None:
        self._heard = 0.0
        self._moved = asyncio.Event()

    def heard(self, second: float) -> None:
        self._heard = max(self._heard, second)
        self._moved.set()

    async def wait(self, second: float) -> None:
        while second > self._heard + AHEAD_SEC:
            self._moved.clear()
            await self._moved.wait()


async def _send(client: StreamClient, playings: Sequence[Playing], pace: _Pace) -> None:
    frame = round(FRAME_SEC * SAMPLE_RATE)
    for playing in playings:
        await pace.wait(playing.end / 1000)
        audio = np.zeros((playing.end - playing.start) * SAMPLE_RATE // 1000, np.int16)
        audio[: len(playing.clip.audio)] = playing.clip.audio
        for at in range(0, len(audio), frame):
            await client.send(audio[at : at + frame].tobytes())
    await client.end()


def assign(finals: Sequence[FinalSegment], playings: Sequence[Playing]) -> list[list[FinalSegment]]:
    """The finals of every playing, by where the middle of their speech lies."""
    starts = [playing.start for playing in playings]
    heard: list[list[FinalSegment]] = [[] for _ in playings]
    for final in finals:
        heard[bisect_right(starts, final.offset_ms + final.duration_ms // 2) - 1].append(final)
    return heard


def word_error_rates(heard: Heard, playings: Sequence[Playing]) -> list[Block]:
    """One block for every ten minutes, a last one shorter than half of that left out."""
    texts = [join_text(final.text for final in finals) for finals in assign(heard.finals, playings)]
    first = dict(zip([playing.clip.name for playing in playings], texts, strict=False))
    for playing, text in zip(reversed(playings), reversed(texts), strict=True):
        first[playing.clip.name] = text
    blocks: list[Block] = []
    length = BLOCK_MIN * 60_000
    for begin in range(0, playings[-1].end, length):
        inside = [index for index, playing in enumerate(playings) if begin <= playing.start < begin + length]
        if blocks and playings[inside[-1]].end - begin < length / 2:
            break
        references = [playings[index].clip.reference or first[playings[index].clip.name] for index in inside]
        errors = score(references, [texts[index] for index in inside])
        used = max(mib for offset, mib in heard.memory if offset < begin + length)
        blocks.append(Block((begin + length) // 60_000, errors.percent, used))
    return blocks


def compare_loops(heard: Heard, playings: Sequence[Playing]) -> tuple[int, int, int]:
    """Segments that were cut as an earlier one of the same speech: how many, how many of them are worded differently,
    and in how many of the others a time moved.

    The detector adapts to what it hears. So it does not always cut the same, nor judge the pauses within a segment the
    same, and a pause is where words may become stable.
    """
    known: dict[tuple[object, ...], list[tuple[str, int, int]]] = {}
    compared = reworded = moved = 0
    for playing, finals in zip(playings, assign(heard.finals, playings), strict=True):
        for final in finals:
            cut = playing.clip.name, final.offset_ms - playing.start, final.duration_ms, final.audio_duration_sec
            words = [
                (word.word, word.start_ms - playing.start, word.end_ms - playing.start) for word in final.words or ()
            ]
            before = known.setdefault(cut, words)
            if before is not words:
                compared += 1
                same = [word for word, _, _ in words] == [word for word, _, _ in before]
                reworded += not same
                moved += same and words != before
    return compared, reworded, moved


async def measure(clips: Sequence[Clip], minutes: float, display: ProgressDisplay) -> dict[str, Any]:
    """Play, print the table, and give everything as JSON can hold it.

    Raises:
        ChildError, StreamClientError: the server did not start, or broke the session off.
    """
    playings = schedule(clips, minutes)
    display.begin("starting a server", 1)
    async with start_server() as server:
        warm_up = schedule(clips[:2], 1 / 60)
        await listen(server, warm_up, display.begin("warming up", warm_up[-1].end / 1000))
        heard = await listen(server, playings, display.begin("playing", playings[-1].end / 1000))
    blocks = word_error_rates(heard, playings)
    compared, reworded, moved = compare_loops(heard, playings)
    audio_sec = playings[-1].end / 1000
    growth = blocks[-1].memory_mib - heard.before_mib
    checks = [
        Check("memory growth", round(growth, 1), GROWTH_MIB, unit="MiB"),
        Check("word errors, last ten minutes less the first", round(blocks[-1].wer - blocks[0].wer, 2), DRIFT_POINTS),
        Check("segments of the same words with a time that moved", moved if compared else None, 0),
        Check("sessions that did not end", int(not heard.complete), 0),
    ]
    rows = [(str(block.minutes), figure(block.wer, "%", 2), figure(block.memory_mib, "MiB", 1)) for block in blocks]
    print_table(f"{audio_sec / 60:.0f} minutes in one session", ("to minute", "word errors", "memory"), rows)
    print_checks(checks)
    return {
        "bench": "hour",
        **machine.describe(),
        "audio_sec": round(audio_sec, 1),
        "wall_sec": round(heard.wall_sec, 1),
        "cpu_per_sec": round(heard.cpu_sec / audio_sec, 4),
        "segments": len(heard.finals),
        "memory_before_mib": round(heard.before_mib, 1),
        "memory_growth_mib": round(growth, 1),
        "compared": compared,
        "reworded": reworded,
        "moved": moved,
        "blocks": [asdict(block) for block in blocks],
        "checks": [check.to_dict() for check in checks],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit status."""
    parser = recordings_parser("bench.hour", __doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args(arguments)
    return run(options, lambda clips, display: measure(clips, options.minutes, display))


if __name__ == "__main__":
    sys.exit(main())
