"""Mel frames to encoder frames: strided convolutions, depthwise separable but the first (arXiv:2305.05084).

Keeps nothing between chunks: what a chunk's frames need of earlier mel frames is part of its input. Parameters are
named as in the checkpoint.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from stream_server.engine.fastconformer.configuration import EncoderConfig
from stream_server.engine.fastconformer.feature import Spectrum

_Length = TypeVar("_Length", int, Tensor)


class Stage(nn.Module):
    """One stage after the first: a strided convolution of each channel, and one over the channels."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels = config.subsampling_channels
        self.depthwise_conv = _strided(config, channels, groups=channels)
        self.pointwise_conv = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, hidden: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise_conv(self.depthwise_conv(hidden))
        return mixed


class Subsampling(nn.Module):
    """All stages, and the projection to the encoder's size."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.kernel, self.stride = config.subsampling_kernel, config.subsampling_stride
        stages = round(math.log(config.subsampling_factor, config.subsampling_stride))
        self.conv_in = _strided(config, 1, groups=1)
        self.layers = nn.ModuleList(Stage(config) for _ in range(stages - 1))
        bins = config.mel_bins
        for _ in range(stages):
            bins = self.shorten(bins)
        self.bins = bins
        self.linear = nn.Linear(config.subsampling_channels * bins, config.hidden)

    def forward(self, spectrum: Spectrum) -> Tensor:
        """[B, C, hidden]: the frames of the chunk."""
        hidden = spectrum.mel.to(self.linear.weight.dtype)[:, None]
        start, length, bins = spectrum.start, spectrum.length, spectrum.mel.shape[2]
        for stage in (self.conv_in, *self.layers):
            hidden = nn.functional.relu(stage(hidden), inplace=True)
            # Over the whole segment every stage sees zeros before its begin and after its end.
            start, length, bins = (start + self.kernel - 1) // self.stride, self.shorten(length), self.shorten(bins)
            frame = start[:, None] + torch.arange(hidden.shape[2], device=hidden.device)
            bin_ = torch.arange(hidden.shape[3], device=hidden.device)
            inside = ((frame >= 0) & (frame < length[:, None]))[:, :, None] & (bin_ < bins)
            hidden *= inside[:, None]
        frames: Tensor = self.linear(hidden[..., : self.bins].transpose(1, 2).flatten(2))
        return frames

    def shorten(self, length: _Length) -> _Length:
        """Length after one stage, along time and bins alike."""
        return (length + self.stride - 2) // self.stride + 1


def _strided(config: EncoderConfig, channels: int, groups: int) -> nn.Conv2d:
    """A convolution that is causal in time, whose past is part of the input.

    Along the bins it must see kernel - 1 zeros before and stride - 1 behind. Padded alike on both sides it may yield
    bins too many, which the caller takes for the padding of the next stage by setting them to zero.
    """
    kernel = config.subsampling_kernel
    return nn.Conv2d(
        channels,
        config.subsampling_channels,
        kernel,
        stride=config.subsampling_stride,
        padding=(0, kernel - 1),
        groups=groups,
    )
