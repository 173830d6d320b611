"""When each word was said: start and end samples from the decoder's cross-attention and the audio's energy.

Two heads of the decoder point at word boundaries (see `architecture.py`): one looks at where a word begins while its
first token is being chosen, the other at where it ends once its last token has been read. Their weights score every
moment of the clip as each word's start and end; a dynamic program then places all starts and ends in order, for the
best total score, with loud moments wanted inside words and quiet ones between them. That is dynamic time warping
reduced to the moments that are reported, so that a word does not swallow the pause beside it.

Knows nothing of the model, of tokens or of the stream: samples count from the start of the clip.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.moonshine.architecture import FIRST_CENTER, HOP

_STEP = 128  # samples between moments that are considered: 8 ms
_WINDOW = 320  # samples over which energy is taken: 20 ms
_SHORTEST = 6  # steps that a word lasts at least
_FLOOR = 1e-3  # attention below this says nothing
_WEIGHT = 0.05  # of one step of loudness against the logarithm of attention
_LOUD = 0.35  # of the way from the quietest to the loudest decibels is where speech begins
_SLOPE = 12.0  # decibels from neither to certain
_RANGE = (15.0, 50.0)  # decibels between quietest and loudest that are believed


def align_words(
    words: Sequence[tuple[str, int, int]], attention: NDArray[np.float32], audio: NDArray[np.float32]
) -> list[tuple[str, int, int]]:
    """Place words in a clip.

    `words` are `(word, first, last)` with the half-open range of their tokens; `attention` is `[2, tokens, frames]` as
    in `Hypothesis.attention`; `audio` is the clip, 16 kHz. Returns `(word, start, end)` in samples of the clip:
    ordered, not overlapping, within the clip. On single words synthesized by espeak-ng and set down at known places the
    median error is about 10 ms (bench/alignment.py).
    """
    if not words or len(audio) == 0:
        return [(word, 0, 0) for word, _, _ in words]
    moments = np.arange(0, len(audio) + 1, _STEP)
    centers = FIRST_CENTER + HOP * np.arange(attention.shape[2])
    scores = np.log(attention + _FLOOR)
    loudness = np.cumsum(_WEIGHT * _loudness(audio, moments))
    shortest = min(_SHORTEST, (len(moments) - 1) // len(words))
    total = np.full(len(moments), -np.inf)  # best score of all events so far, by the moment of the last of them
    total[0] = -loudness[0]
    origins = []
    for _, first, last in words:
        start, origin = _follow(total + loudness, 0)
        total = start - loudness + np.interp(moments, centers, scores[0, first])
        origins.append(origin)
        end, origin = _follow(total - loudness, shortest)
        total = end + loudness + np.interp(moments, centers, scores[1, last - 1])
        origins.append(origin)
    at = int(np.argmax(total + loudness))
    events = []
    for origin in reversed(origins):
        events.append(min(at * _STEP, len(audio)))
        at = int(origin[at])
    events.reverse()
    return [(word, events[2 * index], events[2 * index + 1]) for index, (word, _, _) in enumerate(words)]


def _follow(total: NDArray[np.float64], distance: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each moment, the best of `total` at least `distance` steps before it, and where that is."""
    earlier = np.full(len(total), -np.inf)
    earlier[distance:] = total[: len(total) - distance]
    best = np.maximum.accumulate(earlier)
    where = np.maximum.accumulate(np.where(earlier == best, np.arange(len(total)), 0))
    return best, np.maximum(where - distance, 0)


def _loudness(audio: NDArray[np.float32], moments: NDArray[np.int64]) -> NDArray[np.float64]:
    """From -1, surely no speech, to 1, surely speech, at each moment, by the clip's own quietest and loudest parts."""
    sums = np.concatenate(([0.0], np.cumsum(audio.astype(np.float64) ** 2)))
    low, high = np.maximum(moments - _WINDOW // 2, 0), np.minimum(moments + _WINDOW // 2, len(audio))
    decibels = 10 * np.log10((sums[high] - sums[low]) / np.maximum(high - low, 1) + 1e-10)
    quietest, loudest = np.percentile(decibels, (5, 95))
    quietest = max(quietest, loudest - _RANGE[1])
    loudest = max(loudest, quietest + _RANGE[0])
    threshold = quietest + _LOUD * (loudest - quietest)
    return np.asarray(np.clip((decibels - threshold) / _SLOPE, -1, 1))
