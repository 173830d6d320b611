"""Residual connection and the layer norms after it on a card, in one go: a frame is read once and written once.

`torch.nn.functional.layer_norm` (Ba et al. 2016, arXiv:1607.06450) of a sum, computed in float32. Knows no layers.

Shapes: R frames, H hidden size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn


def add_and_norm(hidden: Tensor, branch: Tensor, scale: float, norm: nn.LayerNorm, out: Tensor | None = None) -> Tensor:
    """Adds ``scale * branch`` to ``hidden``, both [..., H], in place; returns the norm of the sum, or puts it there."""
    return _launch(hidden, branch, scale, norm, None, out)


def add_and_norm_twice(hidden: Tensor, branch: Tensor, scale: float, norm: nn.LayerNorm, after: nn.LayerNorm) -> Tensor:
    """Puts the norm of the sum of ``hidden`` and ``scale * branch`` into ``hidden``; returns the norm ``after`` it."""
    return _launch(hidden, branch, scale, norm, after, None)


def _launch(
    hidden: Tensor, branch: Tensor, scale: float, norm: nn.LayerNorm, after: nn.LayerNorm | None, out: Tensor | None
) -> Tensor:
    size = hidden.shape[-1]
    normed = torch.empty_like(hidden) if out is None else out
    assert all(tensor.is_contiguous() for tensor in (hidden, branch, normed))
    second = norm if after is None else after
    _add_and_norm[(hidden.numel() // size,)](
        hidden,
        branch,
        normed,
        norm.weight,
        norm.bias,
        second.weight,
        second.bias,
        scale,
        norm.eps,
        twice=after is not None,
        size=size,
        block=triton.next_power_of_2(size),
        num_warps=warps_of(size),
    )
    return normed


def warps_of(size: int) -> int:
    """Threads have eight elements each: sixteen bytes at once."""
    return min(8, max(1, int(triton.next_power_of_2(size)) // 256))


@triton.jit
def _add_and_norm(
    hidden,
    branch,
    normed,
    weight,
    bias,
    second_weight,
    second_bias,
    scale,
    eps,
    twice: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
):
    start = tl.program_id(0).to(tl.int64) * size
    element = tl.arange(0, block)
    here = element < size
    kind = hidden.dtype.element_ty
    values = tl.load(hidden + start + element, mask=here, other=0.0).to(tl.float32)
    values += scale * tl.load(branch + start + element, mask=here, other=0.0).to(tl.float32)
    values = values.to(kind)
    if twice:
        values = normalized(values.to(tl.float32), weight, bias, eps, element, here, size).to(kind)
        weight, bias = second_weight, second_bias
    tl.store(hidden + start + element, values, mask=here)
    values = normalized(values.to(tl.float32), weight, bias, eps, element, here, size)
    tl.store(normed + start + element, values.to(kind), mask=here)


@triton.jit
def normalized(values, weight, bias, eps, element, here, size: tl.constexpr):
    """The layer norm of one frame, in float32; elements that are not ``here`` must be zero."""
    values -= tl.sum(values, 0) / size
    values = tl.where(here, values, 0.0)
    values *= tl.rsqrt(tl.sum(values * values, 0) / size + eps)
    values *= tl.load(weight + element, mask=here, other=0.0).to(tl.float32)
    return values + tl.load(bias + element, mask=here, other=0.0).to(tl.float32)
