"""How well speakers are told apart, in files and live, and what it costs.

    python -m bench.diarization --folder FOLDER [--only files,live,peer,long] [--reps 3] [--seconds 180]

The folder holds recordings named SPEAKER-CHAPTER-NUMBER.flac, as LibriSpeech names them. Conversations of 2 to 4 of the
speakers are made of them (see bench/conversation.py), with a tenth of the speech overlapping, and each is heard clean
and by telephone (8 kHz, mu-law); how many speak is not told.

files   as `transcribe --diarize` does it: error rate of the turns, and of the words' speakers
live    segment by segment as a caller sends them: as each segment was told, and after all revisions
peer    the same by the wheel's own runtime, which has the same two networks, on the first conversation
long    an hour of four speakers as a job: its memory, its progress, and another one that is cancelled

The collar is 0.25 s on either side of every border. Prints tables, the figures beside their targets, and one line of
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import diarization_live, diarization_long, diarization_peer, machine
from bench.command import FAILURES
from bench.conversation import Conversation, converse, load_speakers
from bench.labelled_speech import RATE
from bench.option import count, some_of
from bench.progress import ProgressDisplay
from bench.report import Check, Phases, figure, print_checks, print_table
from bench.turn_score import Tally
from stream_server.recording import write_wav
from stream_server.settings import Settings
from stream_server.speakers.diarizer import DiarizerError
from stream_server.terminal import say_error
from stream_server.transcribe import Transcriber

PARTS: Final = ("files", "live", "peer", "long")
SPEAKERS: Final = (2, 3, 4)
LINES: Final[dict[str, Callable[[Conversation], Conversation]]] = {
    "clean": lambda conversation: conversation,
    "telephone": Conversation.by_telephone,
}
MOST_ERROR: Final = {"clean": 15.0, "telephone": 20.0}
LEAST_WORDS: Final = 95.0
FRAME: Final = RATE // 10


def files(conversations: Sequence[Conversation], phases: Phases) -> dict[str, Tally]:
    """Every conversation as a file, on either line."""
    tallies = {line: Tally() for line in LINES}
    advance = phases.begin("files", len(LINES) * len(conversations))
    with tempfile.TemporaryDirectory() as folder, Transcriber(Settings.load({})) as transcriber:
        path = Path(folder) / "conversation.wav"
        for conversation in conversations:
            for line, carry in LINES.items():
                heard = carry(conversation)
                write_wav(path, (heard.audio * 32767).astype("<i2").tobytes())
                began = time.process_time()
                transcript = transcriber.transcribe(path, diarize=True)
                cpu = time.process_time() - began
                tallies[line].add(heard, transcript.turns, cpu)
                words = [word for segment in transcript.segments for word in segment.words]
                tallies[line].words.add(heard, words, transcript.turns)
                advance(1)
    return tallies


def _percent(share: float | None) -> str:
    return figure(None if share is None else 100 * share, "%", 1)


def _print(title: str, tallies: dict[str, Tally]) -> None:
    headings = ("", "DER", "missed", "false", "confused", "no collar", "worst", "count right", "words right", "CPU-s/s")
    rows = []
    for name, tally in tallies.items():
        found = tally.to_dict()
        shares = ("error", "missed", "false_alarm", "confusion", "without_collar", "worst", "counted", "right_words")
        rows.append((name, *(_percent(found[share]) for share in shares), figure(found["cpu_per_sec"], "", 3)))
    print_table(title, headings, rows)


def _checks(tallies: dict[str, Tally], what: str) -> list[Check]:
    checks = []
    for line, tally in tallies.items():
        checks.append(Check(f"{what}, {line}: DER", 100 * tally.turns.total().error, MOST_ERROR[line], unit="%"))
        if tally.words.words:
            share = 100 * tally.words.share
            checks.append(Check(f"{what}, {line}: words", share, LEAST_WORDS, unit="%", at_least=True))
    return checks


def measure(options: argparse.Namespace, phases: Phases) -> dict[str, Any]:
    """All parts that are wanted."""
    speakers = load_speakers(options.folder)
    rng = np.random.default_rng(options.seed)
    conversations = [
        converse(speakers, number, options.seconds, rng) for number in SPEAKERS for _ in range(options.reps)
    ]
    overlap = float(np.mean([conversation.overlap for conversation in conversations]))
    result: dict[str, Any] = {"machine": machine.describe(), "conversations": len(conversations), "overlap": overlap}
    checks: list[Check] = []
    if "files" in options.only:
        found = files(conversations, phases)
        _print(f"Files: {len(conversations)} conversations of {options.seconds:g} s, {overlap:.0%} overlap", found)
        checks += _checks(found, "files")
        result["files"] = {line: tally.to_dict() for line, tally in found.items()}
    if "live" in options.only:
        over = {line: [carry(conversation) for conversation in conversations] for line, carry in LINES.items()}
        advance = phases.begin("live", 2 * len(LINES) * len(conversations))
        told = diarization_live.measure(over, advance)
        flat = {f"{line}, {when}": tally for line, whens in told.items() for when, tally in whens.items()}
        _print("Live", flat)
        checks += _checks({line: whens["in the end"] for line, whens in told.items()}, "live, in the end")
        result["live"] = {name: tally.to_dict() for name, tally in flat.items()}
    if "peer" in options.only:
        result["peer"] = diarization_peer.compare(conversations[0], phases)
    if "long" in options.only:
        long = asyncio.run(diarization_long.measure(speakers, options.minutes, rng, phases))
        checks += long.checks()
        result["long"] = asdict(long)
    if checks:
        print_checks(checks)
    return result | {"checks": [check.to_dict() for check in checks]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured (whatever the figures), 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.diarization", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="recordings, SPEAKER-CHAPTER-NUMBER.flac")
    parser.add_argument("--only", type=some_of(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--reps", type=count, default=3, help="conversations of each number of speakers")
    parser.add_argument("--seconds", type=float, default=180.0, help="of each conversation")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the long one")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args(arguments)
    if len(load_speakers(options.folder)) < max(SPEAKERS):
        parser.error(f"{options.folder} has recordings of fewer than {max(SPEAKERS)} speakers")
    try:
        with ProgressDisplay() as display:
            result = measure(options, display)
    except (*FAILURES, DiarizerError) as error:
        say_error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
