"""Whether the embedded model says the same in torch as on ONNX Runtime, and what either costs.

    python -m bench.backends --folder FOLDER [--device cpu] [--starts 0 30 70] [--streamed]

The folder has a `transcripts.tsv`. `--starts` takes each recording several times, with so many ms of its start cut off,
since one reading of a doubtful word says little. Every clip is read whole, and with `--streamed` also as the server
would: a decode every half second that may commit text, then the final. *Equal* counts the clips whose text is, to the
letter, that of the embedded model as it runs on the CPU; *same words* those where punctuation and case do not count.

The CPU path rounds activations to 8 bits, and on doubtful words the text depends on how. So two more readers stand
beside the two backends: ONNX Runtime on audio that is 0.01 % louder, which shows how far that path agrees with itself,
and ONNX Runtime with float32 products, which is the same network without the rounding; *as float32* counts the clips
whose text is that one's. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Clip, CorpusError, load_folder
from bench.report import figure, print_table
from bench.score import score
from bench.text import normalize
from stream_server.engine.moonshine.asset import Assets, find_assets
from stream_server.engine.moonshine.builder import Builder
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings
from stream_server.engine.moonshine.request import SAMPLE_RATE, Backend, Request
from stream_server.engine.moonshine.tokenizer import Tokenizer
from stream_server.engine.moonshine.weight import Linear
from stream_server.engine.recognizer import Kind, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import StreamOptions

EIGHT_BITS, FLOAT32 = "ONNX Runtime, 8 bits", "ONNX Runtime, float32"
LOUDER = np.float32(1.0001)
Audio = NDArray[np.float32]


class FloatBuilder(Builder):
    """Writes the same graphs with the dequantized matrices, and nothing rounded."""

    def row_product(self, value: str, parts: Sequence[Linear], bias: Audio | None = None) -> str:
        matrix = self.constant(np.concatenate([part.dequantize() for part in parts], axis=1))
        product = self.add("MatMul", value, matrix)
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def clip_product(
        self, value: str, parts: Sequence[Linear], bias: Audio | None = None, *, level: bool = False
    ) -> str:
        return self.row_product(value, parts, bias)

    def byte_convolve(self, value: str, kernel: Audio, bias: Audio, stride: int) -> str:
        return self.convolve(value, kernel, bias, stride)


@dataclass(frozen=True)
class Outcome:
    """What one reader made of the clips; seconds are per second of audio, one clip and all clips at a time."""

    texts: tuple[str, ...]
    alone: float | None
    batched: float


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    reader: str
    equal: int
    same_words: int
    equal_float32: int | None
    wer: float
    seconds_alone: float | None
    seconds_batched: float


def read_whole(backend: Backend, tokenizer: Tokenizer, clips: Sequence[Audio]) -> Outcome:
    """Every clip in one reading."""
    requests = [Request(clip) for clip in clips]
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    backend.decode(requests[:1])
    began = time.perf_counter()
    alone = [backend.decode([request])[0] for request in requests]
    middle = time.perf_counter()
    together = backend.decode(requests)
    ended = time.perf_counter()
    apart = sum(one.tokens != other.tokens for one, other in zip(alone, together, strict=True))
    if apart:
        print(f"{apart} clips read differently alone and in company")
    texts = tuple(tokenizer.decode(heard.tokens) for heard in together)
    return Outcome(texts, (middle - began) / seconds, (ended - middle) / seconds)


def read_streamed(recognizer: MoonshineRecognizer, clips: Sequence[Audio]) -> Outcome:
    """Every clip as one segment, all at once: a step every half second, then the final."""
    step = recognizer.info.step_samples
    streams = [recognizer.new_stream(Slot(index, 1)) for index in range(len(clips))]
    options = StreamOptions("en")
    began = time.perf_counter()
    for end in range(step, max(map(len, clips)) + 1, step):
        recognizer.step(
            [
                Task(stream, Kind.STEP, 0, 0, clip[:end], options)
                for stream, clip in zip(streams, clips, strict=True)
                if len(clip) >= end
            ]
        )
    finals = recognizer.step(
        [Task(stream, Kind.FINAL, 0, 0, clip, options) for stream, clip in zip(streams, clips, strict=True)]
    )
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    return Outcome(tuple(final.text for final in finals), None, (time.perf_counter() - began) / seconds)


def compare(clips: Sequence[Clip], outcomes: dict[str, Outcome]) -> list[Row]:
    """Each reader beside the embedded model as it runs on the CPU."""
    references = [clip.reference or "" for clip in clips]
    expected = outcomes[EIGHT_BITS].texts
    unrounded = outcomes[FLOAT32].texts if FLOAT32 in outcomes else None
    rows = []
    for reader, outcome in outcomes.items():
        pairs = list(zip(outcome.texts, expected, strict=True))
        rows.append(
            Row(
                reader,
                sum(text == other for text, other in pairs),
                sum(normalize(text) == normalize(other) for text, other in pairs),
                None if unrounded is None else sum(map(str.__eq__, outcome.texts, unrounded)),
                round(score(references, outcome.texts).percent, 2),
                None if outcome.alone is None else round(outcome.alone, 4),
                round(outcome.batched, 4),
            )
        )
    return rows


def print_rows(title: str, rows: Sequence[Row], clips: int) -> None:
    """The table."""
    headings = ("", "equal", "same words", "as float32", "WER", "s/s, alone", "s/s, together")
    print_table(
        title,
        headings,
        [
            (
                row.reader,
                f"{row.equal} / {clips}",
                f"{row.same_words} / {clips}",
                "-" if row.equal_float32 is None else f"{row.equal_float32} / {clips}",
                figure(row.wer, "%", 2),
                figure(row.seconds_alone, "", 4),
                figure(row.seconds_batched, "", 4),
            )
            for row in rows
        ],
    )


def whole(assets: Assets, audio: Sequence[Audio], torch_model: Backend) -> dict[str, Outcome]:
    """The four readers."""
    tokenizer = Tokenizer.load(assets.tokenizer)
    plain = Model(assets)
    return {
        EIGHT_BITS: read_whole(plain, tokenizer, audio),
        "the same, 0.01 % louder": read_whole(plain, tokenizer, [clip * LOUDER for clip in audio]),
        FLOAT32: read_whole(Model(assets, new_builder=FloatBuilder), tokenizer, audio),
        torch_model.description: read_whole(torch_model, tokenizer, audio),
    }


def main() -> None:
    """Read, compare, print."""
    from stream_server.engine.moonshine.tensor.model import TensorModel
    from stream_server.engine.moonshine.tensor.recognizer import load_moonshine_torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--starts", type=int, nargs="+", default=[0], metavar="MS")
    parser.add_argument("--streamed", action="store_true")
    options = parser.parse_args()
    try:
        clips = load_folder(options.folder)
    except CorpusError as error:
        parser.error(str(error))
    audio = [
        clip.audio[start * SAMPLE_RATE // 1000 :].astype(np.float32) / np.float32(32768)
        for start in options.starts
        for clip in clips
    ]
    clips *= len(options.starts)
    assets, settings = find_assets(), MoonshineSettings()
    limits = settings.device if options.device.startswith("cuda") else settings.device.unpadded()
    rows = compare(clips, whole(assets, audio, TensorModel(assets, limits, options.device)))
    print_rows("Whole clips", rows, len(clips))
    report = {
        "bench": "backends",
        "device": options.device,
        "clips": len(clips),
        "whole": [asdict(row) for row in rows],
    }
    if options.streamed:
        recognizers = {
            EIGHT_BITS: MoonshineRecognizer(assets, settings),
            "in torch": load_moonshine_torch(assets, settings, options.device),
        }
        rows = compare(clips, {name: read_streamed(each, audio) for name, each in recognizers.items()})
        print_rows("Streamed, one segment a clip", rows, len(clips))
        report["streamed"] = [asdict(row) for row in rows]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
