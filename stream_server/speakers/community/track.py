"""From windows that overlap, and the speaker of each of their pieces, to turns. It knows no model.

A frame is heard in several windows. How many speak in it is their mean; who they are is decided by votes, those first
who were found there in most of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.community.analysis import Heard
from stream_server.speakers.community.feature import SAMPLE_RATE
from stream_server.speakers.community.network import FIRST, FRAME
from stream_server.speakers.span import bridged, runs
from stream_server.speakers.turn import Turn, label_of

_BLOCK: Final = 4096  # frames that are decided at once


class Count:
    """How many speak in each frame, from the windows so far."""

    def __init__(self) -> None:
        self._speaking = np.zeros(_BLOCK, np.uint16)
        self._windows = np.zeros(_BLOCK, np.uint16)
        self._frames = 0

    def add(self, heard: Heard) -> None:
        """Another window."""
        end = heard.start + len(heard.speaking)
        self._frames = max(self._frames, end)
        while end > len(self._speaking):
            self._speaking = np.concatenate((self._speaking, np.zeros_like(self._speaking)))
            self._windows = np.concatenate((self._windows, np.zeros_like(self._windows)))
        self._speaking[heard.start : end] += heard.speaking
        self._windows[heard.start : end] += 1

    def mean(self) -> NDArray[np.intp]:
        """Rounded, ``[frames]``."""
        windows = np.maximum(self._windows[: self._frames], 1)
        rounded: NDArray[np.intp] = ((2 * self._speaking[: self._frames] + windows) // (2 * windows)).astype(np.intp)
        return rounded


def turns_of(
    counts: NDArray[np.intp], spans: Iterable[tuple[int, int, int]], speakers: int, duration_ms: int
) -> list[tuple[int, int, int]]:
    """Turns as (start_ms, end_ms, speaker), in order of time.

    ``spans``: the pieces as (first frame, end frame, speaker) in the recording.
    """
    votes = np.zeros((len(counts), speakers), np.uint8)
    for start, end, speaker in spans:
        votes[start:end, speaker] += 1
    speaks = np.zeros(votes.shape, bool)
    for first in range(0, len(counts), _BLOCK):
        block = votes[first : first + _BLOCK]
        order = np.argsort(-block.astype(np.int16), axis=1, kind="stable")
        rank = np.argsort(order, axis=1, kind="stable")
        speaks[first : first + _BLOCK] = (rank < counts[first : first + _BLOCK, None]) & (block > 0)
    turns = []
    for speaker in range(speakers):
        spans_ms = (
            (_milliseconds(first, duration_ms), _milliseconds(end, duration_ms))
            for first, end in runs(speaks[:, speaker])
        )
        turns += [(start_ms, end_ms, speaker) for start_ms, end_ms in bridged(spans_ms)]
    return sorted(turns)


def _milliseconds(frame: int, duration_ms: int) -> int:
    """Where a frame begins."""
    return min(duration_ms, 1000 * (frame * FRAME + FIRST) // SAMPLE_RATE)


def labelled(turns: Sequence[tuple[int, int, int]]) -> tuple[Turn, ...]:
    """The turns with labels in order of first speech."""
    order = {speaker: label_of(place) for place, speaker in enumerate(dict.fromkeys(turn[2] for turn in turns))}
    return tuple(Turn(start, end, order[speaker]) for start, end, speaker in turns)
