"""When tokens were spoken: dynamic time warping over the cross-attention of a decoder.

Much as in Whisper's reference implementation, each head's weights are standardized over the tokens, averaged and
smoothed over time; then every frame is given to one token, in order, for the largest total. Here only frames that are
loud are given away, so that no token swallows the pause beside it. Knows nothing of models.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.work import Audio

_SMOOTHED = 7  # frames of the median filter
_LOUD = 0.35  # of the way from the quietest to the loudest decibels is where speech begins
_RANGE = (15.0, 50.0)  # decibels between quietest and loudest that are believed


def align_tokens(attention: NDArray[np.float32], first: int, audio: Audio) -> list[tuple[int, int]]:
    """Start and end of each token, in samples of the clip.

    ``attention``: [heads, positions, frames], weights that sum to 1 over the frames of the clip; the position of a
    token is that of the input from which it was predicted. ``first``: position of the first token; those before it
    are only compared with. The last position, from which the end was predicted, is no token.
    """
    spread = attention.std(axis=1, keepdims=True)
    scores = (attention - attention.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-6)
    scores = _smooth(scores.mean(axis=0)[first:])
    bounds = np.linspace(0, len(audio), scores.shape[1] + 1).astype(int)
    kept = _loud_frames(audio, bounds)
    if len(kept) < len(scores):
        kept = np.arange(scores.shape[1])
    starts = _place(scores[:, kept])
    return [
        (int(bounds[kept[start]]), int(bounds[kept[max(start, end - 1)] + 1]))
        for start, end in pairwise(starts.tolist())
    ]


def _smooth(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over time of [tokens, frames]."""
    if scores.shape[1] <= _SMOOTHED // 2:
        return scores
    padded = np.pad(scores, ((0, 0), (_SMOOTHED // 2, _SMOOTHED // 2)), mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHED, axis=1), axis=2))


def _place(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where each of ``scores`` [tokens, frames] begins, if they follow each other and the sum is to be the largest."""
    tokens, frames = scores.shape
    if tokens > frames:  # more tokens than moments: nothing to be found out
        return np.asarray(np.arange(tokens) * frames // tokens)  # the same frame several times over
    total = np.full(tokens, -np.inf)
    total[0] = scores[0, 0]
    advanced = np.zeros((frames, tokens), bool)  # whether a token begins at this frame, if it holds this frame
    for frame in range(1, frames):
        before = np.concatenate(([-np.inf], total[:-1]))
        advanced[frame] = before > total
        total = np.maximum(before, total) + scores[:, frame]
    starts = np.zeros(tokens, np.int64)
    token = tokens - 1
    for frame in range(frames - 1, 0, -1):
        if advanced[frame, token]:
            starts[token] = frame
            token -= 1
    return starts


def _loud_frames(audio: Audio, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The frames between ``bounds`` in which something is said, by the clip's own quietest and loudest ones."""
    sums = np.concatenate(([0.0], np.cumsum(audio.astype(np.float64) ** 2)))
    decibels = 10 * np.log10(np.diff(sums[bounds]) / np.maximum(np.diff(bounds), 1) + 1e-10)
    quietest, loudest = np.percentile(decibels, (5, 95))
    quietest = max(quietest, loudest - _RANGE[1])
    loudest = max(loudest, quietest + _RANGE[0])
    return np.flatnonzero(decibels > quietest + _LOUD * (loudest - quietest))
