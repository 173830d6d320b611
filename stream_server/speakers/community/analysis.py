"""What is heard in ten seconds of audio: how many speak when, and a vector for every piece of one voice.

The segmentation follows up to three speakers through a window. Where voices are alike it takes two for one, so a
speaker of a window is no unit here: each utterance is, cut to pieces of about three seconds, and the vectors decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.community.feature import HOP, SAMPLE_RATE, filter_bank
from stream_server.speakers.community.feature import WINDOW as FEATURE
from stream_server.speakers.community.network import FIRST, FRAME, FRAMES, WINDOW, CommunityEmbedder, Segmentation
from stream_server.speakers.span import runs

PIECE_SEC: Final = 3.0
STEP: Final = 296 * FRAME
"""Samples from one window to the next, five seconds: everything is heard twice."""
CLEAN_FEATURES: Final = 40
"""Frames of 10 ms that a voice must have to itself; with fewer the piece is taken as it is, other voices and all."""
FEWEST_FEATURES: Final = 25


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One voice from frame ``start`` to frame ``end`` of its window.

    ``clean_sec``: how much of that nobody else speaks. ``vector``: what the voice is like; None if it is too short.
    """

    start: int
    end: int
    clean_sec: float
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One window. ``start``: its first frame in the recording; ``speaking``: ``[frames] uint8``, how many speak."""

    start: int
    speaking: NDArray[np.uint8]
    pieces: tuple[Piece, ...]


class Analyzer:
    """The two networks together. May be used by several threads."""

    def __init__(self, segmentation: Segmentation, embedder: CommunityEmbedder) -> None:
        self._segmentation = segmentation
        self._embedder = embedder

    def hear(self, samples: NDArray[np.float32], start: int) -> Heard:
        """A window of at most `WINDOW` samples; ``start``: its first frame in the recording."""
        activity = self._segmentation.run(samples)
        speaking = activity.sum(axis=1, dtype=np.uint8)
        features = filter_bank(samples)
        middles = np.arange(len(features)) * HOP + FEATURE // 2
        frames = np.clip((middles - FIRST) // FRAME, 0, FRAMES - 1)
        alone = speaking[frames] == 1
        pieces = tuple(
            self._piece(features, frames, alone, begin, end)
            for speaker in range(activity.shape[1])
            for begin, end in _pieces(activity[:, speaker])
        )
        return Heard(start, speaking[: -(-len(samples) // FRAME)], pieces)

    def _piece(
        self,
        features: NDArray[np.float32],
        frames: NDArray[np.intp],
        alone: NDArray[np.bool_],
        begin: int,
        end: int,
    ) -> Piece:
        within = (frames >= begin) & (frames < end)
        clean = within & alone
        count = int(clean.sum())
        used = clean if count >= CLEAN_FEATURES else within
        vector = self._embedder.embed_features(features[used]) if used.sum() >= FEWEST_FEATURES else None
        return Piece(begin, end, count * HOP / SAMPLE_RATE, vector)


def starts(samples: int) -> Iterator[int]:
    """The first frames of the windows that cover a recording of so many samples: the last one ends with it."""
    step = STEP // FRAME
    last = max(0, -(-(samples - WINDOW) // FRAME))
    yield from range(0, last, step)
    yield last


def _pieces(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    for begin, end in runs(mask):
        count = max(1, round((end - begin) * FRAME / SAMPLE_RATE / PIECE_SEC))
        cuts = [begin + (end - begin) * part // count for part in range(count + 1)]
        yield from pairwise(cuts)
