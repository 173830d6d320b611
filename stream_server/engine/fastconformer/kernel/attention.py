"""The core of absorbed attention on a card: the ring is read where it lies, and nothing of it is copied.

What it computes is what `fastconformer.attention.Attention` does with torch, from the absorbed queries and the terms of
all distances to the mix. In two passes over the hidden size: scores, softmax in float32, mix. The second pass finds the
keys in the cache of the card. Knows neither projections nor what keys are.

Shapes: B rows, C frames per chunk, H hidden size, n heads, left frames in the ring of each of S slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the work is cut: queries and elements of H for each program, warps, and stages of loading ahead."""

    queries: int
    block: int
    warps: int
    stages: int


def tiling_of(queries: int) -> Tiling:
    """What was fastest on an H200 for so many queries (C * n) in a row.

    With few queries a program waits for its keys, and half the threads let more of them wait at once; with many it
    multiplies, and smaller pieces of H leave room to load more of them ahead.
    """
    if queries <= 16:
        return Tiling(queries=16, block=128, warps=2, stages=3)
    return Tiling(queries=64, block=64, warps=4, stages=4)


def attend(
    query: Tensor,
    ring: Tensor,
    slot: Tensor,
    inputs: Tensor,
    positions: Tensor,
    offsets: Tensor,
    count: Tensor,
    frames: Tensor,
    scale: float,
    tiling: Tiling | None = None,
) -> Tensor:
    """The mix of each query, [B, C, n, H].

    Args:
        query: [B, C, n, H], absorbed.
        ring: [S, left, H], of one layer.
        slot: [B] int64.
        inputs: [B, C, H], the keys of the chunk.
        positions: [B, C, n, columns], the term of each distance, as `Attention.relative` orders them.
        offsets: [n, columns], to be added to it for every query.
        count: [B] int64, frames before the chunk.
        frames: [B] int64, valid frames of the chunk.
        scale: of the products of queries and keys; the terms of distances are scaled already.
        tiling: for measurements.
    """
    batch, chunk, heads, size = query.shape
    left = ring.shape[1]
    given = (query, ring, slot, inputs, positions, offsets, count, frames)
    assert all(tensor.is_contiguous() for tensor in given)
    tiling = tiling or tiling_of(chunk * heads)
    block = min(tiling.block, size & -size)  # a power of two that divides it
    # Two tiles of keys, because tiles are powers of two, and 84 keys in one of 128 would be a third of nothing.
    near = max(16, 2 ** ((left + chunk).bit_length() - 1))
    rest = max(16, triton.next_power_of_2(left + chunk - near))
    mix = torch.empty_like(query)
    _attend[triton.cdiv(chunk * heads, tiling.queries), batch](
        query,
        ring,
        slot,
        inputs,
        positions,
        offsets,
        count,
        frames,
        mix,
        scale * LOG2_E,
        LOG2_E,
        chunk=chunk,
        heads=heads,
        size=size,
        left=left,
        columns=positions.shape[3],
        queries=tiling.queries,
        near_size=near,
        rest_size=rest,
        block=block,
        num_warps=tiling.warps,
        num_stages=tiling.stages,
    )
    return mix


@triton.jit
def _attend(
    query,
    ring,
    slot,
    inputs,
    positions,
    offsets,
    count,
    frames,
    mix,
    scale,
    log2_e,
    chunk: tl.constexpr,
    heads: tl.constexpr,
    size: tl.constexpr,
    left: tl.constexpr,
    columns: tl.constexpr,
    queries: tl.constexpr,
    near_size: tl.constexpr,
    rest_size: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * queries + tl.arange(0, queries)
    here = (index < chunk * heads)[:, None]
    place = (row * (chunk * heads) + index)[:, None]
    past = tl.load(count + row).to(tl.int32)
    valid = tl.maximum(tl.load(frames + row).to(tl.int32), 1)  # a row without frames sees one, or there is no softmax
    ring += tl.load(slot + row) * (left * size)
    inputs += row * (chunk * size)

    near, near_seen, near_age = _keys(tl.arange(0, near_size), ring, inputs, past, valid, left, chunk, size)
    rest, rest_seen, rest_age = _keys(near_size + tl.arange(0, rest_size), ring, inputs, past, valid, left, chunk, size)
    element = tl.arange(0, block)[None, :]
    near_scores = tl.zeros((queries, near_size), tl.float32)
    rest_scores = tl.zeros((queries, rest_size), tl.float32)
    for begin in range(0, size, block):
        part = tl.load(query + place * size + begin + element, mask=here, other=0.0)
        near_keys = tl.load(near + begin + element, mask=near_seen[:, None], other=0.0)
        rest_keys = tl.load(rest + begin + element, mask=rest_seen[:, None], other=0.0)
        near_scores = tl.dot(part, tl.trans(near_keys), near_scores, input_precision="ieee")
        rest_scores = tl.dot(part, tl.trans(rest_keys), rest_scores, input_precision="ieee")

    positions += place * columns
    column = (index // heads + (chunk - 1))[:, None]
    offsets += (index % heads)[:, None] * columns
    near_scores = _placed(near_scores, positions, offsets, column + near_age[None, :], near_seen, here, scale, log2_e)
    rest_scores = _placed(rest_scores, positions, offsets, column + rest_age[None, :], rest_seen, here, scale, log2_e)
    top = tl.maximum(tl.max(near_scores, 1), tl.max(rest_scores, 1))[:, None]
    near_weights = tl.exp2(near_scores - top)
    rest_weights = tl.exp2(rest_scores - top)
    share = 1.0 / (tl.sum(near_weights, 1) + tl.sum(rest_weights, 1))[:, None]
    kind = mix.dtype.element_ty
    near_weights = near_weights.to(kind)
    rest_weights = rest_weights.to(kind)

    for begin in range(0, size, block):
        near_keys = tl.load(near + begin + element, mask=near_seen[:, None], other=0.0)
        rest_keys = tl.load(rest + begin + element, mask=rest_seen[:, None], other=0.0)
        mixed = tl.dot(near_weights, near_keys, input_precision="ieee")
        mixed = tl.dot(rest_weights, rest_keys, mixed, input_precision="ieee")
        tl.store(mix + place * size + begin + element, (mixed * share).to(kind), mask=here)


@triton.jit
def _keys(key, ring, inputs, past, valid, left: tl.constexpr, chunk: tl.constexpr, size: tl.constexpr):
    """Of each key its address [keys, 1], whether it is seen, and its age in frames before the first of the chunk."""
    fresh = key - left
    # Frame n lies at n % left, so the ages of the places follow from the count: the newest is 1 frame old.
    age = tl.where(fresh < 0, (past % left + (2 * left - 1) - key) % left + 1, -fresh)
    # Chunks see whole chunks only, as in training.
    seen = tl.where(fresh < 0, age <= tl.minimum(past, left // chunk * chunk), fresh < valid)
    address = tl.where(fresh < 0, ring + key * size, inputs + fresh * size)
    return address[:, None], seen, age


@triton.jit
def _placed(scores, positions, offsets, column, seen, here, scale, log2_e):
    """Scores with the terms of their distances, to the base of 2; those of what is not seen are no more."""
    wanted = here & seen[None, :]
    position = tl.load(positions + column, mask=wanted, other=0.0).to(tl.float32)
    position += tl.load(offsets + column, mask=wanted, other=0.0).to(tl.float32)
    return tl.where(seen[None, :], scores * scale + position * log2_e, float("-inf"))
