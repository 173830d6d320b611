"""The benchmark of the live path: accuracy, cost, latency and capacity in one run.

    python -m bench [--folder FOLDER] [--only wer,cpu,latency,capacity] [--quick]

It starts a server of its own, prints a table for each part and the figures beside their targets, writes a picture of
the capacity curve and a JSON file, and ends with the same JSON on one line. Figures are only worth something on a
machine that does nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.option import RESULTS, count, some_of

if TYPE_CHECKING:
    from bench.suite import Plan

PARTS: Final = ("wer", "cpu", "latency", "capacity")
EXTRA: Final = ("jiwer", "matplotlib", "psutil")  # what the extra `bench` installs


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and report. Exit status: 0 measured (whatever the figures), 1 failed, 2 wrong usage."""
    options = _options(arguments)
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        print(f"error: {', '.join(missing)} not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    from bench.corpus import CorpusError, load_folder, load_wheel
    from bench.peer import PeerError
    from bench.progress import ProgressDisplay
    from bench.suite import measure
    from stream_server.audio.error import UnsupportedAudio
    from stream_server.child import ChildError
    from stream_server.engine.moonshine.asset import AssetError
    from stream_server.ramp import LoadError
    from stream_server.terminal import say, say_error

    try:
        if options.folder is None:
            say("no --folder: the recordings of the moonshine-voice wheel; word error rates need transcripts")
        clips = load_wheel() if options.folder is None else load_folder(options.folder)
        with ProgressDisplay() as display:
            result = asyncio.run(measure(clips, _plan(options), display))
    except (CorpusError, PeerError, UnsupportedAudio, LoadError, ChildError, AssetError, OSError) as error:
        say_error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="recordings (flac, wav) and transcripts.tsv: name, tab, text")
    parser.add_argument("--only", type=some_of(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a few minutes less, and figures that mean little")
    parser.add_argument("--clips", type=count, help="only so many recordings")
    parser.add_argument("--streams", type=_numbers, help="numbers of streams to try, such as 8,16,24")
    parser.add_argument("--seconds", type=count, help="length of each load of the capacity curve")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the picture")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({count(part) for part in text.split(",")}))


def _plan(options: argparse.Namespace) -> Plan:
    from bench.capacity import STREAMS
    from bench.suite import Plan

    quick = options.quick
    return Plan(
        parts=options.only,
        clips=options.clips or (12 if quick else None),
        callers=6,
        latency_sec=25.0 if quick else 180.0,
        numbers=options.streams or ((4, 8) if quick else STREAMS),
        step_sec=options.seconds or (12.0 if quick else 25.0),
        output=options.output,
    )


if __name__ == "__main__":
    sys.exit(main())
