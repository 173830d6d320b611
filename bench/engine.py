"""The benchmark of the streaming transducer on its device: how many streams it carries, and what a step is made of.

    python -m bench.engine [--weights random|tiny|FOLDER] [--family NAME] [--device cuda] [--budget SECONDS]

For each chunk size of the checkpoint: the largest number of real-time streams for which every step ends before the next
chunk is due (p99), with the recognizer alone and through the whole engine, in virtual time that moves by what steps
have really taken; the parts of a step beside the floor of what the device could do; and transformers' own streaming and
offline inference on the same weights in the same run. Random weights are made to emit about three tokens per second.

It prints tables, the one that matters last, writes a picture and a JSON file, and ends with the same JSON on one line.
Targets are checked for full-size weights on a card only.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.option import RESULTS, count, some_of

if TYPE_CHECKING:
    from bench.engine_suite import Plan

FAMILIES: Final = ("nemotron_asr_streaming", "nemotron3_5_asr")
PARTS: Final = ("capacity", "split", "transformers")
NEEDED: Final = ("torch", "safetensors", "tokenizers", "psutil")
SLOTS: Final = {"cuda": 16384, "cpu": 64}
BATCH: Final = {"cuda": 1024, "cpu": 16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and report. Exit status: 0 measured (whatever the figures), 1 failed, 2 wrong usage."""
    options = _options(arguments)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"error: {', '.join(missing)} not installed: pip install -e '.[bench,gpu]'", file=sys.stderr)
        return 2
    from bench.engine_report import report
    from bench.engine_suite import measure
    from bench.progress import ProgressDisplay
    from bench.speech import SpeechError
    from stream_server.engine.device import DeviceError, resolve_device
    from stream_server.engine.hub import CheckpointError
    from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError
    from stream_server.terminal import say_error

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        plan = _plan(options, resolve_device(options.device))
        with ProgressDisplay() as display:
            findings = measure(plan, display)
        result = report(findings)
        _write(result, options.output)
    except (SpeechError, CheckpointError, DeviceError, DeviceMemoryError, DeviceLostError, OSError) as error:
        say_error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0


def _write(result: dict[str, object], folder: Path) -> None:
    """The JSON file, and the picture where it can be drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"engine-{str(result['date']).replace(':', '')[:17]}"
    if find_spec("matplotlib") is None:
        result["skipped"] = {**_dict(result["skipped"]), "picture": "matplotlib is not installed"}
    else:
        from bench.engine_picture import draw

        draw(result, folder / f"{stem}.png")
        result["picture"] = str(folder / f"{stem}.png")
    (folder / f"{stem}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _dict(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        default="random",
        metavar="random|tiny|FOLDER",
        help="random weights of full size (618 M parameters) or tiny, or a checkpoint's folder; default random",
    )
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="architecture of random weights")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
    parser.add_argument("--only", type=some_of(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--budget", type=_positive, default=540.0, help="seconds for everything; default 540")
    parser.add_argument(
        "--seconds", type=_positive, default=2.0, help="of virtual time counted in a run of streams; default 2"
    )
    parser.add_argument("--tokens", type=_positive, default=3.0, help="tokens per second of random weights; default 3")
    parser.add_argument("--streams", type=count, help="most streams; default 16384 on a card, 64 on the CPU")
    parser.add_argument("--batch", type=count, help="most streams of a step; default 1024 on a card, 16 on the CPU")
    parser.add_argument("--audio", type=Path, help="speech to use: WAV, 16 kHz, mono, 16 bit")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the files")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("more than nothing")
    return number


def _plan(options: argparse.Namespace, device: str) -> Plan:
    from bench.engine_suite import Plan

    kind = device.partition(":")[0]
    return Plan(
        weights=options.weights,
        family=options.family,
        device=device,
        parts=options.only,
        audio=options.audio,
        max_streams=options.streams or SLOTS[kind],
        max_batch=options.batch or BATCH[kind],
        tokens_per_sec=options.tokens,
        seconds=options.seconds,
        budget=options.budget,
    )


if __name__ == "__main__":
    sys.exit(main())
