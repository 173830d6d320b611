"""What transformers makes of the same weights: its batched streaming, and batches of whole recordings.

In its favour: features are computed beforehand, all rows of a streaming batch hear the same at the same time, so that
none waits for another, and what it has to copy is on the device already. Knows nothing of our engine.
"""

from __future__ import annotations

import importlib
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch

from bench.speech import Speech
from stream_server.engine.fastconformer.configuration import PROMPTED, FastConformerConfig
from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.work import SAMPLE_RATE

CLIP_SEC: Final = 15.0
MEASURED: Final = 6  # chunks at the end of a run
MOST_CHUNKS: Final = 40
_CLOSE: Final = 1.25  # a batch that holds and one that does not, this near to each other, are near enough

HasTime = Callable[[], bool]


class RivalError(Exception):
    """It cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """The largest batch whose chunks take less than they last: that many streams. All batches that were tried, with
    the median seconds of a chunk.
    """

    period: float
    streams: int
    tried: dict[int, float]
    tokens_per_sec: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        tried = {str(batch): round(1e3 * seconds, 2) for batch, seconds in sorted(self.tried.items())}
        return {"streams": self.streams, "chunk_ms_of_batch": tried, "tokens_per_sec": round(self.tokens_per_sec, 2)}


@dataclass(frozen=True, slots=True)
class Read:
    """Seconds of audio per second, whole recordings in batches; the best of those tried."""

    streams: float
    tried: dict[int, float]
    tokens_per_sec: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        tried = {str(batch): round(rate, 1) for batch, rate in sorted(self.tried.items())}
        return {
            "audio_sec_per_sec": round(self.streams, 1),
            "of_batch": tried,
            "clip_sec": CLIP_SEC,
            "tokens_per_sec": round(self.tokens_per_sec, 2),
        }


class Rival:
    """A checkpoint, loaded by transformers."""

    def __init__(self, folder: Path, config: FastConformerConfig, speech: Speech, device: torch.device) -> None:
        """Raises RivalError: transformers is missing, too old, or does not take the checkpoint."""
        try:
            transformers: Any = importlib.import_module("transformers")
        except ImportError:
            raise RivalError("transformers is not installed") from None
        prompted = config.model_type == PROMPTED
        name = "Nemotron3_5AsrForRNNT" if prompted else "NemotronAsrStreamingForRNNT"
        if not hasattr(transformers, name):
            raise RivalError(f"transformers {transformers.__version__} is too old: it has no {name}, 5.23 has")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        feature = config.feature
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        try:
            model = getattr(transformers, name).from_pretrained(folder, dtype=dtype)
            extractor = transformers.NemotronAsrStreamingFeatureExtractor(
                feature_size=feature.mel_bins,
                sampling_rate=feature.sample_rate,
                hop_length=feature.hop_length,
                n_fft=feature.n_fft,
                win_length=feature.win_length,
                preemphasis=feature.preemphasis,
                mel_filters_dtype=feature.mel_dtype,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise RivalError(f"transformers does not take the checkpoint: {error}") from error
        self.version = transformers.__version__
        self._model = model.to(device).eval()
        self._extractor = extractor
        self._config = config
        self._geometry = Geometry.of(feature, config.encoder)
        self._speech = speech
        self._device = device
        self._dtype = dtype

    def stream(self, frames: int, most: int, has_time: HasTime) -> Streamed:
        """Its streaming by chunks of so many encoder frames, in batches of at most ``most``."""
        period = frames * self._geometry.frame_samples / SAMPLE_RATE
        tried: dict[int, float] = {}
        tokens: list[float] = []

        def holds(batch: int) -> bool:
            with _quiet():
                seconds, rate = self._stream(frames, period, batch)
            tried[batch] = seconds
            tokens.append(rate)
            return seconds <= period

        streams = largest_batch(holds, most, has_time)
        return Streamed(period, streams, tried, tokens[0])

    def _stream(self, frames: int, period: float, batch: int) -> tuple[float, float]:
        """Median seconds of a chunk once the memory of earlier frames is full, or as good as; tokens per second."""
        factor = self._geometry.factor
        chunks = min(MOST_CHUNKS, -(-self._config.encoder.left // frames)) + MEASURED
        first, length = 1 + factor * (frames - 1), factor * frames
        samples = (first + chunks * length) * self._geometry.hop
        mel = self._mel([self._speech.take(0, 0, samples)])["input_features"]
        marks: list[float] = []

        def pieces() -> Iterator[torch.Tensor]:
            bounds = [0, first, *range(first + length, first + chunks * length, length)]
            for begin, end in itertools.pairwise(bounds):
                self._wait()
                marks.append(time.perf_counter())
                if len(marks) > 3 and marks[-1] - marks[-3] > 6 * period:
                    return  # far too slow: enough is known
                yield mel[:, begin:end].expand(batch, -1, -1).contiguous()
            self._wait()
            marks.append(time.perf_counter())

        output = self._model.generate(input_features=pieces(), num_lookahead_tokens=frames - 1)
        taken = [later - earlier for earlier, later in itertools.pairwise(marks)]
        return median(taken[-MEASURED:]), self._rate(output.sequences, len(taken) * period)

    def read(self, most: int, has_time: HasTime) -> Read:
        """Whole recordings of ``CLIP_SEC``, in growing batches as long as that is faster."""
        tried: dict[int, float] = {}
        rate, batch = 0.0, 1
        samples = int(CLIP_SEC * SAMPLE_RATE)
        while batch <= most and (not tried or has_time()):
            inputs = self._mel([self._speech.take(row, 0, samples) for row in range(batch)])
            try:
                with _quiet():
                    for _ in range(2 if not tried else 1):
                        self._wait()
                        began = time.perf_counter()
                        output = self._model.generate(**inputs)
                        self._wait()
                        seconds = time.perf_counter() - began
            except torch.OutOfMemoryError:
                break
            tried[batch] = batch * CLIP_SEC / seconds
            rate = self._rate(output.sequences, CLIP_SEC)
            if tried[batch] < max(tried.values()):
                break
            batch *= 4
        return Read(max(tried.values()), tried, rate)

    def _mel(self, audio: Sequence[Any]) -> dict[str, torch.Tensor]:
        found = self._extractor(list(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return {
            name: value.to(self._device, self._dtype) if value.is_floating_point() else value.to(self._device)
            for name, value in found.items()
        }

    def _rate(self, sequences: torch.Tensor, seconds: float) -> float:
        """Tokens per second of a row; what begins a row and fills it up does not count."""
        padding = self._model.config.pad_token_id
        own = (sequences[:, 1:] != self._config.transducer.blank) & (sequences[:, 1:] != padding)
        return float(own.sum()) / len(sequences) / seconds

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def largest_batch(holds: Callable[[int], bool], most: int, has_time: HasTime) -> int:
    """The largest batch that holds, more or less: in strides of four, then between."""
    low, high = 0, most + 1
    batch = 1
    while batch <= most and (low == 0 or has_time()):
        try:
            good = holds(batch)
        except torch.OutOfMemoryError:
            good = False
        if good:
            low = batch
        else:
            high = batch
        if low == 0 or high <= _CLOSE * low or high - low <= 1 or low == most:
            break
        batch = min(most, 4 * low) if high > most else round((low * high) ** 0.5)
    return low


def _quiet() -> warnings.catch_warnings[None]:
    """Its advice on lengths is not for us."""
    return warnings.catch_warnings(action="ignore")
