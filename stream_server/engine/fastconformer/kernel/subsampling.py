"""The convolutions of the subsampling on a card that are not products of matrices, with channels last.

The first convolution has one channel going in and many coming out, and by far the most numbers in all of the model: it
is worked out on the way to the depthwise convolution after it, from the mel frames, and never written down. What is
computed is what `fastconformer.subsampling.Subsampling` does with torch. Knows no chunks; the channels are mixed by the
caller.

Shapes: B rows, T mel frames or frames of a stage, F bins of them, N channels, K the size of a kernel along both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tiling:
    """Places (of a frame and a bin) and channels for each program, and warps."""

    places: int
    channels: int
    warps: int


BEGIN = Tiling(places=16, channels=256, warps=4)
"""All channels at once, so that the mel frames of a place are read once; fastest on an H200 for long chunks."""

DEPTHWISE = Tiling(places=4, channels=256, warps=4)
"""Eight elements for each thread, sixteen bytes at once; with more of them fewer loads are on their way."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the frames of a stage lie: ``start`` [B] of the first, ``length`` [B] of the segment, and its ``bins``.

    What lies outside is zero for the convolution that reads it.
    """

    start: Tensor
    length: Tensor
    bins: int


def begin(
    mel: Tensor,
    dense: Tensor,
    dense_bias: Tensor,
    between: Extent,
    taps: Tensor,
    bias: Tensor,
    kernel: int,
    stride: int,
    bins: int,
    tiling: Tiling = BEGIN,
) -> Tensor:
    """First convolution, ReLU and depthwise convolution of mel frames, [B, T, F, N].

    Args:
        mel: [B, M, mel bins].
        dense: [16, N], the first convolution, time before bins, with zeros behind; ``dense_bias`` [N].
        between: the frames that come of it.
        taps: [K * K, N], the depthwise convolution; ``bias`` [N].
        kernel, stride: of both.
        bins: of the result.
    """
    batch, length, mel_bins = mel.shape
    assert all(tensor.is_contiguous() for tensor in (mel, between.start, between.length, dense, taps))
    inner = (length - kernel) // stride + 1
    times = (inner - kernel) // stride + 1
    channels = taps.shape[1]
    output = torch.empty(batch, times, bins, channels, dtype=taps.dtype, device=mel.device)
    block = min(tiling.channels, max(16, triton.next_power_of_2(channels)))
    _begin[triton.cdiv(batch * times * bins, tiling.places), triton.cdiv(channels, block)](
        mel,
        dense,
        dense_bias,
        between.start,
        between.length,
        taps,
        bias,
        output,
        batch * times * bins,
        given=length,
        mel_bins=mel_bins,
        inner_bins=between.bins,
        times=times,
        bins=bins,
        channels=channels,
        kernel=kernel,
        stride=stride,
        patch_size=dense.shape[0],
        tile=tiling.places,
        block=block,
        num_warps=tiling.warps,
    )
    return output


def depthwise(
    inputs: Tensor,
    extent: Extent,
    taps: Tensor,
    bias: Tensor,
    kernel: int,
    stride: int,
    bins: int,
    tiling: Tiling = DEPTHWISE,
) -> Tensor:
    """Depthwise convolution of the ReLU of ``inputs`` [B, T, F, N] that lie at ``extent``; see `begin`."""
    batch, length, _, channels = inputs.shape
    assert all(tensor.is_contiguous() for tensor in (inputs, extent.start, extent.length, taps))
    times = (length - kernel) // stride + 1
    output = torch.empty(batch, times, bins, channels, dtype=inputs.dtype, device=inputs.device)
    block = min(tiling.channels, max(16, triton.next_power_of_2(channels)))
    _depthwise[triton.cdiv(batch * times * bins, tiling.places), triton.cdiv(channels, block)](
        inputs,
        extent.start,
        extent.length,
        taps,
        bias,
        output,
        batch * times * bins,
        given=length,
        inner_bins=extent.bins,
        times=times,
        bins=bins,
        channels=channels,
        kernel=kernel,
        stride=stride,
        tile=tiling.places,
        block=block,
        num_warps=tiling.warps,
    )
    return output


@triton.jit(do_not_specialize=["places"])
def _begin(
    mel,
    dense,
    dense_bias,
    start,
    length,
    taps,
    bias,
    output,
    places,
    given: tl.constexpr,
    mel_bins: tl.constexpr,
    inner_bins: tl.constexpr,
    times: tl.constexpr,
    bins: tl.constexpr,
    channels: tl.constexpr,
    kernel: tl.constexpr,
    stride: tl.constexpr,
    patch_size: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    place = tl.program_id(0) * tile + tl.arange(0, tile)
    there = place < places
    row, time, bin_ = place // (times * bins), place // bins % times, place % bins
    first = tl.load(start + row, mask=there, other=0).to(tl.int32)
    end = tl.load(length + row, mask=there, other=0).to(tl.int32)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    known = channel < channels
    kind = output.dtype.element_ty
    tap = tl.arange(0, patch_size)
    weights = tl.load(dense + tap[:, None] * channels + channel[None, :], mask=known[None, :], other=0.0)
    offset = tl.load(dense_bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    mixed = tl.zeros((tile, block), tl.float32)
    mixed += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    mel += row.to(tl.int64)[:, None] * (given * mel_bins)
    for step in range(kernel * kernel):
        inner_time = time * stride + step // kernel
        inner_bin = bin_ * stride + step % kernel - (kernel - 1)
        frame = first + inner_time
        inside = there & (frame >= 0) & (frame < end) & (inner_bin >= 0) & (inner_bin < inner_bins)
        mel_time = (inner_time * stride)[:, None] + (tap // kernel)[None, :]
        mel_bin = (inner_bin * stride - (kernel - 1))[:, None] + (tap % kernel)[None, :]
        wanted = inside[:, None] & (tap < kernel * kernel)[None, :] & (mel_bin >= 0) & (mel_bin < mel_bins)
        patch = tl.load(mel + mel_time * mel_bins + mel_bin, mask=wanted, other=0.0).to(kind)
        inner = tl.dot(patch, weights, input_precision="ieee") + offset
        inner = tl.where(inside[:, None], tl.maximum(inner, 0.0), 0.0).to(kind).to(tl.float32)
        weight = tl.load(taps + step * channels + channel, mask=known, other=0.0).to(tl.float32)[None, :]
        mixed += inner * weight
    address = output + place.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(address, mixed.to(kind), mask=there[:, None] & known[None, :])


@triton.jit(do_not_specialize=["places"])
def _depthwise(
    inputs,
    start,
    length,
    taps,
    bias,
    output,
    places,
    given: tl.constexpr,
    inner_bins: tl.constexpr,
    times: tl.constexpr,
    bins: tl.constexpr,
    channels: tl.constexpr,
    kernel: tl.constexpr,
    stride: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    place = tl.program_id(0) * tile + tl.arange(0, tile)
    there = place < places
    row, time, bin_ = place // (times * bins), place // bins % times, place % bins
    first = tl.load(start + row, mask=there, other=0).to(tl.int32)
    end = tl.load(length + row, mask=there, other=0).to(tl.int32)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    known = channel < channels
    mixed = tl.zeros((tile, block), tl.float32)
    mixed += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    for step in tl.static_range(kernel * kernel):
        inner_time = time * stride + step // kernel
        inner_bin = bin_ * stride + step % kernel - (kernel - 1)
        frame = first + inner_time
        inside = there & (frame >= 0) & (frame < end) & (inner_bin >= 0) & (inner_bin < inner_bins)
        source = (row.to(tl.int64) * given + inner_time) * inner_bins + inner_bin
        address = inputs + source[:, None] * channels + channel[None, :]
        inner = tl.load(address, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        weight = tl.load(taps + step * channels + channel, mask=known, other=0.0).to(tl.float32)[None, :]
        mixed += tl.maximum(inner, 0.0) * weight
    address = output + place.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(address, mixed.to(output.dtype.element_ty), mask=there[:, None] & known[None, :])
