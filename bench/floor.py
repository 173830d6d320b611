"""What a step must cost at least: the operations and bytes of its model, over what the device can do of either.

Both rates are measured, on random numbers. What is counted is the formulation that the engine uses, from the
configuration alone: weights once for each step; for each stream its memory once in and what is new of it once out; and
the frames in and out of each module of the encoder. A step that keeps everything else in caches and never waits would
take just that long. Knows nothing of how steps are run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from bench.stopwatch import seconds_of
from stream_server.engine.fastconformer.configuration import FastConformerConfig
from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.work import SAMPLE_RATE

_COPY_BYTES: Final = {"cuda": 2 * 2**30, "cpu": 2**28}
_MATRIX: Final = {"cuda": 8192, "cpu": 1536}


@dataclass(frozen=True, slots=True)
class Rates:
    """What the device does: bytes (read and written) and floating point operations per second."""

    bandwidth: float
    flops: float

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"gigabytes_per_sec": round(self.bandwidth / 1e9, 1), "teraflops": round(self.flops / 1e12, 3)}


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """A large copy within the device, and a large matrix product of this type."""
    source = torch.rand(_COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / seconds_of(partial(target.copy_, source), device)
    del source, target  # there may be little room
    size = _MATRIX[device.type]
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(left)
    return Rates(bandwidth, 2 * size**3 / seconds_of(lambda: torch.mm(left, right, out=product), device))


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a step: ``weights`` in bytes, whatever its rows; and of each row the operations and bytes."""

    weights: int
    row_flops: float
    row_bytes: float

    def seconds(self, rows: int, rates: Rates) -> float:
        """The least time of a step."""
        return max(rows * self.row_flops / rates.flops, (self.weights + rows * self.row_bytes) / rates.bandwidth)

    def bound(self, rows: int, rates: Rates) -> str:
        """Which of both it is: ``arithmetic`` or ``bandwidth``."""
        moving = (self.weights + rows * self.row_bytes) / rates.bandwidth
        return "arithmetic" if rows * self.row_flops / rates.flops > moving else "bandwidth"

    def streams(self, period: float, rates: Rates) -> int:
        """The most streams, each with a row in every ``period`` seconds: one step takes them all."""
        by_bytes = (period * rates.bandwidth - self.weights) / self.row_bytes
        return max(0, int(min(period * rates.flops / self.row_flops, by_bytes)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "weights_mb": round(self.weights / 1e6, 1),
            "row_gflop": round(self.row_flops / 1e9, 4),
            "row_mb": round(self.row_bytes / 1e6, 4),
        }


def count(config: FastConformerConfig, parameters: int, frames: int, item: int, tokens_per_sec: float) -> Cost:
    """The cost of steps of ``frames`` encoder frames; ``item``: bytes of a number; tokens as they are emitted."""
    geometry = Geometry.of(config.feature, config.encoder)
    tokens = tokens_per_sec * frames * geometry.frame_samples / SAMPLE_RATE
    flops = _features(config, geometry, frames) + _subsampling(config, geometry, frames)
    flops += frames * config.encoder.layers * _layer(config, frames)
    flops += _projections(config, frames) + _search(config, frames, tokens)
    return Cost(parameters * item, flops, _row_bytes(config, geometry, frames, item))


def _features(config: FastConformerConfig, geometry: Geometry, frames: int) -> float:
    feature = config.feature
    transform = 2.5 * feature.n_fft * math.log2(feature.n_fft)  # of real numbers
    return geometry.chunk_mels(frames) * (transform + 2 * (feature.n_fft // 2 + 1) * feature.mel_bins)


def _subsampling(config: FastConformerConfig, geometry: Geometry, frames: int) -> float:
    encoder = config.encoder
    channels, kernel = encoder.subsampling_channels, encoder.subsampling_kernel
    length, bins, flops = geometry.chunk_mels(frames), encoder.mel_bins, 0.0
    for stage in range(geometry.stages):
        length = (length - kernel) // geometry.stride + 1
        bins = (bins + geometry.stride - 2) // geometry.stride + 1
        mixing = channels if stage else 0  # over channels, in all stages but the first
        flops += 2 * length * bins * channels * (kernel**2 + mixing)
    return flops + 2 * frames * channels * bins * encoder.hidden


def _layer(config: FastConformerConfig, frames: int) -> float:
    """Operations of a layer for one frame of a chunk of ``frames``."""
    encoder = config.encoder
    size, keys = encoder.hidden, encoder.left + frames
    feed = 2 * 2 * 2 * size * encoder.intermediate
    # Query and output; keys and values, absorbed into the query and the mix: as many. Positions; scores and mix.
    attention = 8 * size**2 + 2 * size * (keys + frames - 1) + 4 * encoder.heads * size * keys
    convolution = 2 * size * (2 * size + encoder.kernel + size)
    return feed + attention + convolution


def _projections(config: FastConformerConfig, frames: int) -> float:
    size, prompt = config.encoder.hidden, config.prompt
    fused = 2 * 2 * size * prompt.intermediate if prompt else 0
    return frames * (fused + 2 * size * config.transducer.hidden)


def _search(config: FastConformerConfig, frames: int, tokens: float) -> float:
    """The joint network once for every frame and token, the predictor once for every token."""
    transducer = config.transducer
    size = transducer.hidden
    predictor = transducer.layers * 2 * 4 * 2 * size**2 + 2 * size**2
    return (frames + tokens) * 2 * size * transducer.vocabulary + tokens * predictor


def _row_bytes(config: FastConformerConfig, geometry: Geometry, frames: int, item: int) -> float:
    encoder, transducer = config.encoder, config.transducer
    size = encoder.hidden
    memory = encoder.layers * size * (encoder.left + frames + 2 * (encoder.kernel - 1)) * item
    memory += 2 * (2 * transducer.layers + 1) * transducer.hidden * item
    samples = 4 * (geometry.chunk_samples(frames) + 2 * geometry.tail_samples)
    # Two feed-forwards, attention and convolution of each layer: frames in and out.
    return memory + samples + frames * encoder.layers * 4 * 2 * size * item
