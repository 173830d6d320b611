"""The middle of the convolution module on a card: gate, causal depthwise convolution, layer norm and SiLU in one go.

What it computes is what `fastconformer.encoder.Convolution` does with torch. What the convolution saw before the chunk
is read where it lies. Knows neither the pointwise convolutions nor who writes what it returns into the state.

Shapes: B rows, C frames per chunk, H hidden size, past = kernel - 1 frames in the ring of each of S slots.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from stream_server.engine.fastconformer.kernel.norm import normalized, warps_of


def convolve(
    gated: Tensor,
    ring: Tensor,
    slot: Tensor,
    count: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    norm: nn.LayerNorm,
    fresh: Tensor,
    warps: int | None = None,
) -> Tensor:
    """[B, C, H].

    Args:
        gated: [B, C, 2 H], values and their gates.
        ring: [S, past, H], of one layer: frame n since the reset lies at n % past.
        slot, count: [B] int64; count is of the frames before the chunk.
        taps: [kernel, H], the weights of the convolution, oldest frame first.
        bias: [H], of the convolution.
        norm: the layer norm.
        fresh: [B, C, H], takes what the convolution saw of the chunk.
        warps: for measurements.
    """
    batch, chunk, size = fresh.shape
    assert all(tensor.is_contiguous() for tensor in (gated, ring, slot, count, taps, fresh))
    output = torch.empty_like(fresh)
    _convolve[batch * chunk,](
        gated,
        ring,
        slot,
        count,
        taps,
        bias,
        norm.weight,
        norm.bias,
        fresh,
        output,
        norm.eps,
        chunk=chunk,
        kernel=taps.shape[0],
        size=size,
        block=triton.next_power_of_2(size),
        num_warps=warps or warps_of(size),
    )
    return output


@triton.jit
def _convolve(
    gated,
    ring,
    slot,
    count,
    taps,
    bias,
    norm_weight,
    norm_bias,
    fresh,
    output,
    eps,
    chunk: tl.constexpr,
    kernel: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64)
    row, frame = place // chunk, (place % chunk).to(tl.int32)
    past = tl.load(count + row).to(tl.int32)
    ring += tl.load(slot + row) * ((kernel - 1) * size)
    element = tl.arange(0, block)
    here = element < size
    kind = output.dtype.element_ty
    mixed = tl.zeros((block,), tl.float32)
    if bias is not None:
        mixed += tl.load(bias + element, mask=here, other=0.0).to(tl.float32)
    # The frame itself first, as it is there for every chunk.
    value = _gate(gated + place * (2 * size), element, here, size).to(kind)
    tl.store(fresh + place * size + element, value, mask=here)
    tap = tl.load(taps + (kernel - 1) * size + element, mask=here, other=0.0).to(tl.float32)
    mixed += value.to(tl.float32) * tap
    for ago in tl.static_range(1, kernel):
        before = frame - ago  # in the chunk, or in the ring
        if before < 0:
            index = past + before
            here_too = here & (index >= 0)
            value = tl.load(ring + (index % (kernel - 1)) * size + element, mask=here_too, other=0.0)
        else:
            value = _gate(gated + (place - ago) * (2 * size), element, here, size).to(kind)
        tap = tl.load(taps + (kernel - 1 - ago) * size + element, mask=here, other=0.0).to(tl.float32)
        mixed += value.to(tl.float32) * tap
    mixed = normalized(mixed, norm_weight, norm_bias, eps, element, here, size)
    mixed *= tl.sigmoid(mixed)
    tl.store(output + place * size + element, mixed.to(kind), mask=here)


@triton.jit
def _gate(address, element, here, size: tl.constexpr):
    value = tl.load(address + element, mask=here, other=0.0).to(tl.float32)
    gate = tl.load(address + size + element, mask=here, other=0.0).to(tl.float32)
    return value * tl.sigmoid(gate)
