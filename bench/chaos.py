"""Sessions whose connections are cut again and again: the transcript of each equals that of an uncut run.

    python -m bench.chaos --folder FOLDER --sessions 200 --cuts 5

Every session is played at real speed through a proxy of its own, by the Python client and with the real model, ``wave``
at a time: more at once than the machine carries would be worded differently for want of time, cut or not. (Those that
the server told so, DEGRADED, are played again, fewer at a time.) A cut is a reset, an end or the end of one direction,
often in the middle of a frame; some connects are held back. Prints a table, the figures beside their targets, and one
line of JSON.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np

from bench import machine
from bench.command import recordings_parser, run
from bench.corpus import SAMPLE_RATE, Clip
from bench.option import count
from bench.progress import ProgressDisplay
from bench.proxy import Fault, Proxy
from bench.report import Advance, Check, print_checks, print_table
from bench.server import start_server
from stream_client import ReconnectPolicy, StreamClient, StreamClientError
from stream_protocol import Event
from stream_protocol.events import Ack, Done, EndOfTranscript, Error, FinalSegment, Ready, Warning

TAKES: Final = 8
"""Different speech; more sessions hear the same again."""
GAP_SEC: Final = 1.0
FAULTS: Final = (Fault.RESET, Fault.CLOSE, Fault.HALF_CLOSE)
MOST_FRAME_BYTES: Final = 6400
MOST_DELAY_SEC: Final = 0.05
HELD: Final = 0.1
"""Share of cuts after which the next connect is held back."""
LATE: Final = 0.3
"""Share of sessions that are cut once more behind their end."""
CUT_SEC: Final = 1.0
OPEN_SEC: Final = 2.0
SHOWN: Final = 10

Said = list[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Story:
    """What became of one session; ``said`` is what has to be the same in every run. ``problem``: empty where all is
    well."""

    said: Said
    cuts: Counter[str]
    changes: Counter[str]
    degraded: bool
    problem: str = ""


def takes_of(clips: Sequence[Clip], seconds: float) -> list[bytes]:
    """Speech for the sessions: the recordings in a loop with a second of silence between, begun at several places."""
    gap = np.zeros(round(GAP_SEC * SAMPLE_RATE), np.int16)
    whole = np.concatenate([part for clip in clips for part in (clip.audio, gap)])
    length = round(seconds * SAMPLE_RATE)
    starts = [index * len(whole) // TAKES for index in range(TAKES)]
    return [np.resize(np.roll(whole, -start), length).astype("<i2").tobytes() for start in starts]


def digest(events: Sequence[Event]) -> Said:
    """Everything but what depends on the moment: numbers, latencies, and the partials."""
    said: Said = []
    for event in events:
        match event:
            case FinalSegment():
                words = [astuple(word) for word in event.words or ()]
                said.append((event.segment_id, event.offset_ms, event.duration_ms, event.text, event.confidence, words))
            case EndOfTranscript():
                said.append((event.text,))
            case Done():
                said.append((event.total_segments, event.total_audio_duration_sec))
    return said


def numbering(events: Sequence[Event]) -> str:
    """What is wrong with the numbers of the events; empty where nothing is."""
    numbers = [event.seq for event in events if not isinstance(event, Ready | Ack | Warning | Error)]
    if doubled := len(numbers) - len(set(numbers)):
        return f"{doubled} events came twice"
    return "" if numbers == list(range(1, len(numbers) + 1)) else "the numbers of the events have a gap"


async def play(url: str, audio: bytes, cuts: int, seed: int) -> Story:
    """One session at real speed, cut ``cuts`` times at random moments."""
    chance = random.Random(seed)
    host = url.split("/")[2]
    done: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    events: list[Event] = []
    problem = ""
    async with Proxy(host) as network:
        network.delay_sec = chance.uniform(0, MOST_DELAY_SEC)
        policy = ReconnectPolicy(first_wait_sec=0.05)
        try:
            async with StreamClient(
                network.ws_url,
                reconnect=policy,
                open_timeout=OPEN_SEC,
                on_connection=lambda change: changes.update([change.state]),
            ) as client:
                cutting = asyncio.create_task(_cut(network, len(audio) / 2 / SAMPLE_RATE, cuts, chance, done))
                work = [cutting, asyncio.create_task(_speak(client, audio, chance, cutting))]
                if cuts and chance.random() < LATE:
                    work.append(asyncio.create_task(_cut_late(network, work[1], chance)))
                try:
                    async for event in client:
                        events.append(event)  # noqa: PERF401 - kept after an error
                    await work[1]
                finally:
                    for task in work:
                        task.cancel()
                    await asyncio.gather(*work, return_exceptions=True)
        except StreamClientError as error:
            problem = str(error)
    degraded = any(isinstance(event, Warning) and event.code == "DEGRADED" for event in events)
    return Story(digest(events), done, changes, degraded, problem or numbering(events))


async def _speak(client: StreamClient, audio: bytes, chance: random.Random, cutting: asyncio.Task[None]) -> None:
    """Frames of any length, odd ones included; each leaves when its last sample has been spoken."""
    last = MOST_FRAME_BYTES  # goes out when the last cut is over, if that is late
    start, at = time.monotonic(), 0
    while at < len(audio):
        if at >= len(audio) - last:
            await asyncio.wait((cutting,))
        frame = audio[at : at + chance.randint(1, MOST_FRAME_BYTES)]
        at += len(frame)
        await asyncio.sleep(max(0.0, start + at / 2 / SAMPLE_RATE - time.monotonic()))
        await client.send(frame)
    await client.end()


async def _cut_late(network: Proxy, speaking: asyncio.Task[None], chance: random.Random) -> None:
    """One cut more, after the end was sent: the last finals, or `done`, may be under way."""
    await asyncio.wait((speaking,))
    await asyncio.sleep(chance.uniform(0, 0.5))
    network.cut(chance.choice(FAULTS))


async def _cut(network: Proxy, seconds: float, cuts: int, chance: random.Random, done: Counter[str]) -> None:
    start = time.monotonic()
    for moment in sorted(chance.uniform(0.2, seconds) for _ in range(cuts)):
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        link = await network.connection()
        fault = chance.choice(FAULTS)
        if chance.random() < HELD:
            network.hold_connects()
        link.cut(fault, after_bytes=chance.choice((0, chance.randint(1, MOST_FRAME_BYTES))))
        try:
            await asyncio.wait_for(link.ended.wait(), CUT_SEC)
        except TimeoutError:  # not so many bytes have come
            link.cut(Fault.RESET)
            await link.ended.wait()
        done[fault.name.lower()] += 1


async def measure(
    clips: Sequence[Clip], sessions: int, cuts: int, wave: int, seconds: float, seed: int, display: ProgressDisplay
) -> dict[str, Any]:
    """Uncut runs, then waves of cut ones; prints, and gives everything as JSON can hold it.

    Raises:
        ChildError: the server did not start.
    """
    takes = takes_of(clips, seconds)
    display.begin("starting a server", 1)
    async with start_server() as server:
        uncut = await _waves(server.url, takes, len(takes), 0, wave, seed, display.begin("uncut", len(takes)))
        began = time.monotonic()
        cut = await _waves(server.url, takes, sessions, cuts, wave, seed, display.begin("cut", sessions))
        wall = time.monotonic() - began
    return _report(uncut, cut, {"cuts": cuts, "wave": wave, "seconds": seconds, "seed": seed, "wall_sec": round(wall)})


async def _waves(
    url: str, takes: Sequence[bytes], sessions: int, cuts: int, wave: int, seed: int, advance: Advance
) -> list[Story]:
    """All sessions, ``wave`` at a time; those that were told DEGRADED once more, fewer at a time."""
    stories: dict[int, Story] = {}
    todo = list(range(sessions))
    while todo and wave:
        for first in range(0, len(todo), wave):
            numbers = todo[first : first + wave]
            work = (play(url, takes[number % len(takes)], cuts, seed * 100_000 + number) for number in numbers)
            stories |= dict(zip(numbers, await asyncio.gather(*work), strict=True))
            advance(sum(not stories[number].degraded for number in numbers))
        todo = [number for number in todo if stories[number].degraded and not stories[number].problem]
        wave //= 2
    return [stories[number] for number in range(sessions)]


def _report(uncut: Sequence[Story], cut: Sequence[Story], plan: dict[str, Any]) -> dict[str, Any]:
    different = [index for index, story in enumerate(cut) if story.said != uncut[index % len(uncut)].said]
    problems = {index: story.problem for index, story in enumerate(cut) if story.problem}
    faults = sum((story.cuts for story in cut), Counter[str]())
    changes = sum((story.changes for story in cut), Counter[str]())
    segments = sum(len(story.said) - 2 for story in cut)
    degraded = sum(story.degraded for story in (*uncut, *cut))
    least = min(sum(story.cuts.values()) for story in cut)
    checks = [
        Check("uncut sessions with an error", sum(bool(story.problem) for story in uncut), 0),
        Check("sessions with an error, an event twice or a number missing", len(problems), 0),
        Check("sessions whose transcript is not that of the uncut run", len(different), 0),
        Check("sessions that began anew in place of going on", changes["restarted"], 0),
        Check("cuts of the session that was cut least", least, plan["cuts"], at_least=True),
        Check("sessions that were told DEGRADED (then words may differ)", degraded, 0),
    ]
    rows = [
        (str(len(cut)), str(segments), *(str(faults[fault.name.lower()]) for fault in FAULTS), str(changes["resumed"]))
    ]
    headings = ("sessions", "finals", "reset", "closed", "half-closed", "resumed")
    print_table(f"{plan['cuts']} cuts each, {plan['wave']} sessions at a time", headings, rows)
    print_checks(checks)
    return {
        "bench": "chaos",
        **machine.describe(),
        **plan,
        "sessions": len(cut),
        "finals": segments,
        "faults": dict(faults),
        "changes": dict(changes),
        "degraded": degraded,
        "different": [
            {"session": index, "said": cut[index].said, "expected": uncut[index % len(uncut)].said}
            for index in different[:SHOWN]
        ],
        "problems": dict(list(problems.items())[:SHOWN]),
        "checks": [check.to_dict() for check in checks],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit status."""
    parser = recordings_parser("bench.chaos", __doc__)
    parser.add_argument("--sessions", type=count, default=200)
    parser.add_argument("--cuts", type=count, default=5, help="of each session")
    parser.add_argument("--wave", type=count, default=8, help="sessions at a time")
    parser.add_argument("--seconds", type=float, default=20.0, help="of speech in each session")
    parser.add_argument("--seed", type=int, default=1, help="of the moments, the faults and the frames")
    options = parser.parse_args(arguments)
    logging.getLogger("stream_client").setLevel(logging.ERROR)  # that connections break is the point
    return run(
        options,
        lambda clips, display: measure(
            clips, options.sessions, options.cuts, options.wave, options.seconds, options.seed, display
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
