"""The command line of a benchmark that plays recordings: the options that name them, and how it ends.

It does not know what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from bench.corpus import Clip, CorpusError, load_folder, load_wheel
from bench.option import count
from bench.progress import ProgressDisplay
from bench.submission import SubmissionError
from stream_client import StreamClientError
from stream_server.audio.error import UnsupportedAudio
from stream_server.child import ChildError
from stream_server.engine.moonshine.asset import AssetError
from stream_server.ramp import LoadError
from stream_server.terminal import say_error

FAILURES: Final = (
    CorpusError,
    UnsupportedAudio,
    AssetError,
    ChildError,
    LoadError,
    SubmissionError,
    StreamClientError,
    OSError,
)
"""What a benchmark may end with."""

Measure = Callable[[Sequence[Clip], ProgressDisplay], Coroutine[Any, Any, dict[str, Any]]]


def recordings_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that name the recordings."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="recordings (flac, wav) and transcripts.tsv: name, tab, text")
    parser.add_argument("--clips", type=count, help="only so many recordings")
    return parser


def run(options: argparse.Namespace, measure: Measure) -> int:
    """Load the recordings, measure, print one line of JSON. Exit status: 0 measured, 1 failed, 130 interrupted."""
    try:
        clips = (load_wheel() if options.folder is None else load_folder(options.folder))[: options.clips]
        with ProgressDisplay() as display:
            result = asyncio.run(measure(clips, display))
    except FAILURES as error:
        say_error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0
