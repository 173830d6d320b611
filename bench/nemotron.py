"""How fast the diarization model for cards is, and what a recording takes of memory, on this machine.

    python -m bench.nemotron [--weights random|FOLDER] [--device auto] [--seconds 600] [--recordings 1]

Speed does not depend on what is heard, so the audio is noise, and random weights of full size (100 M parameters) are as
good as any. Every recording has a thread of its own, as every job has. It prints a table, and ends with one line of
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.option import count
from stream_server.engine.device import DeviceError, resolve_device
from stream_server.engine.hub import CheckpointError
from stream_server.engine.work import SAMPLE_RATE
from stream_server.terminal import say_error

if TYPE_CHECKING:
    from stream_server.speakers.nemotron.model import NemotronModel


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and report. Exit status: 0 measured, 1 failed, 2 wrong usage."""
    options = _options(arguments)
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        print(f"error: {', '.join(missing)} not installed: pip install -e '.[bench,gpu]'", file=sys.stderr)
        return 2
    try:
        device = resolve_device(options.device)
        result = _measure(options.weights, device, options.seconds, options.recordings)
    except (CheckpointError, DeviceError) as error:
        say_error(str(error))
        return 1
    for name, value in result.items():
        print(f"{name:28} {value}")
    print(json.dumps(result))
    return 0


def _measure(weights: str, device: str, seconds: int, recordings: int) -> dict[str, object]:
    import torch

    from stream_server.speakers.nemotron.model import load_nemotron
    from stream_server.speakers.nemotron.stream import ActivityStream

    model = _random(device) if weights == "random" else load_nemotron(weights, device)
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * SAMPLE_RATE).astype(np.float32)

    def diarize(length: int) -> int:
        stream = ActivityStream(model)
        for start in range(0, length, len(noise)):
            stream.hear(noise[: length - start])
        stream.finish()
        return stream.size

    diarize(len(noise))  # in which libraries choose their kernels
    on_card = device != "cpu"
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    started, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(recordings) as pool:
        sizes = list(pool.map(diarize, [seconds * SAMPLE_RATE] * recordings))
    took, used = time.perf_counter() - started, time.process_time() - used
    audio = seconds * recordings
    return {
        "weights": weights,
        "device": torch.cuda.get_device_name(device) if on_card else "cpu",
        "recordings": recordings,
        "audio s": audio,
        "audio s per s": round(audio / took, 1),
        "CPU s per audio s": round(used / audio, 4),
        "MiB held for a recording": round(sizes[0] / 2**20, 2),
        "MiB of the device at most": round(torch.cuda.max_memory_allocated(device) / 2**20) if on_card else None,
    }


def _random(device: str) -> NemotronModel:
    import torch
    from transformers import (
        Nemotron3DiarizationConfig,
        Nemotron3DiarizationForAudioFrameClassification,
        NemotronAsrStreamingFeatureExtractor,
    )

    from stream_server.speakers.nemotron.model import NemotronModel

    torch.manual_seed(0)
    network: Any = Nemotron3DiarizationForAudioFrameClassification(Nemotron3DiarizationConfig())
    extractor: Any = NemotronAsrStreamingFeatureExtractor
    return NemotronModel(network.eval().to(device), extractor(feature_size=128))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.nemotron", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="random", metavar="random|FOLDER", help="default: random")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
    parser.add_argument("--seconds", type=count, default=600, help="of audio in a recording; default 600")
    parser.add_argument("--recordings", type=count, default=1, help="at the same time; default 1")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
