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
_BLOCK = 32  # samples that steps and half windows are whole numbers of
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
    loudness = np.cumsum(_WEIGHT * _loudness(audio, moments))
    scores = _scores(words, attention, moments)
    scores[0] -= loudness  # what is loud before a start, or after an end, counts against it
    scores[1] += loudness
    shortest = min(_SHORTEST, (len(moments) - 1) // len(words))
    total = np.full(len(moments), -np.inf)  # best score of all events so far, by the moment of the last of them
    total[0] = -loudness[0]
    reached = []  # the same, as each event finds it, and how far before the event the last one has to be
    for start, end in zip(*scores, strict=True):
        for score, sign, distance in ((start, 1, 0), (end, -1, shortest)):
            before = total + sign * loudness
            reached.append((before, distance))
            total = np.full(len(moments), -np.inf)
            np.maximum.accumulate(before[: len(before) - distance], out=total[distance:])
            total += score
    at = int(np.argmax(total + loudness))
    events = []
    for before, distance in reversed(reached):
        events.append(min(at * _STEP, len(audio)))
        at = _last_best(before[: at - distance + 1])
    events.reverse()
    return [(word, events[2 * index], events[2 * index + 1]) for index, (word, _, _) in enumerate(words)]


def _scores(
    words: Sequence[tuple[str, int, int]], attention: NDArray[np.float32], moments: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How well each moment fits as the start, and as the end, of each word: [2, words, moments]."""
    tokens = ([first for _, first, _ in words], [last - 1 for _, _, last in words])
    scores = np.log(np.stack([head[chosen] for head, chosen in zip(attention, tokens, strict=True)]) + _FLOOR)
    place = np.clip((moments - FIRST_CENTER) / HOP, 0, scores.shape[2] - 1)  # between which frames, and how far
    frame = np.minimum(place.astype(np.int64), max(0, scores.shape[2] - 2))
    share = place - frame
    after = np.minimum(frame + 1, scores.shape[2] - 1)
    return np.asarray(scores[:, :, frame] * (1 - share) + scores[:, :, after] * share)


def _last_best(scores: NDArray[np.float64]) -> int:
    """Where the largest is; the last of equal ones; 0 for none."""
    return max(0, len(scores) - 1 - int(np.argmax(scores[::-1]))) if len(scores) else 0


def _loudness(audio: NDArray[np.float32], moments: NDArray[np.int64]) -> NDArray[np.float64]:
    """From -1, surely no speech, to 1, surely speech, at each moment, by the clip's own quietest and loudest parts."""
    # Sums of squares over blocks as long as windows and moments have in common, then over all before.
    blocks = np.pad(audio, (0, -len(audio) % _BLOCK)).reshape(-1, _BLOCK)
    sums = np.concatenate(([0.0], np.cumsum(np.einsum("ij,ij->i", blocks, blocks).astype(np.float64))))
    low, high = np.maximum(moments - _WINDOW // 2, 0), np.minimum(moments + _WINDOW // 2, len(audio))
    energy = sums[-(-high // _BLOCK)] - sums[low // _BLOCK]
    decibels = 10 * np.log10(energy / np.maximum(high - low, 1) + 1e-10)
    quietest, loudest = np.percentile(decibels, (5, 95))
    quietest = max(quietest, loudest - _RANGE[1])
    loudest = max(loudest, quietest + _RANGE[0])
    threshold = quietest + _LOUD * (loudest - quietest)
    return np.asarray(np.clip((decibels - threshold) / _SLOPE, -1, 1))
