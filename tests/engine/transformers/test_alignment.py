"""Attention that is made up: a diagonal over audio that is made up too."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_server.engine.transformers.alignment import align_tokens
from stream_server.engine.work import Audio

FRAME = 320


def attention(places: list[tuple[int, int]], frames: int, heads: int = 2) -> NDArray[np.float32]:
    """[heads, positions, frames]: each position looks at the frames from its first up to its last, and a little
    everywhere."""
    weights = np.full((heads, len(places), frames), 0.02, np.float32)
    for position, (first, last) in enumerate(places):
        weights[:, position, first:last] += 1
    return weights / weights.sum(axis=2, keepdims=True)


def sound(frames: int, silent: range = range(0)) -> Audio:
    samples = np.random.default_rng(0).normal(0, 0.1, frames * FRAME).astype(np.float32)
    samples[silent.start * FRAME : silent.stop * FRAME] *= 1e-3
    return samples


def test_tokens_are_where_the_heads_look() -> None:
    places = [(0, 1), (0, 10), (10, 25), (25, 40), (40, 50)]  # a start token, three tokens, the end
    spans = align_tokens(attention(places, 50), 1, sound(50, range(40, 50)))
    for (start, end), (first, last) in zip(spans, places[1:-1], strict=True):
        assert start == pytest.approx(first * FRAME, abs=2 * FRAME)
        assert end == pytest.approx(last * FRAME, abs=2 * FRAME)


def test_a_pause_belongs_to_nobody() -> None:
    places = [(0, 1), (0, 20), (30, 50), (50, 60)]
    spans = align_tokens(attention(places, 60), 1, sound(60, range(20, 30)))
    assert spans[0][1] <= 20 * FRAME + FRAME
    assert spans[1][0] >= 30 * FRAME - FRAME


@pytest.mark.parametrize("frames", [1, 2, 3, 10])
def test_more_tokens_than_frames(frames: int) -> None:
    spans = align_tokens(attention([(0, 1)] * 12, frames), 1, sound(frames))
    assert len(spans) == 10
    edges = [start for start, _ in spans]
    assert edges == sorted(edges)
    assert all(0 <= start <= end <= frames * FRAME for start, end in spans)


def test_no_tokens() -> None:
    assert align_tokens(attention([(0, 1), (5, 9)], 10), 1, sound(10)) == []


def test_silence() -> None:
    assert len(align_tokens(attention([(0, 1), (0, 5), (5, 10)], 10), 1, np.zeros(3200, np.float32))) == 1
