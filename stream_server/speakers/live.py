"""Who speaks in a live call, segment by segment, by the embedded models.

Each segment is analysed as a file is, and its voices join those heard so far, which are clustered anew with every
segment. So what a caller was told of earlier segments may turn out wrong: then they are told anew, as far back as they
are remembered. It knows no session and no thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.clustering import Nodes
from stream_server.speakers.community.analysis import STEP, Analyzer, Heard, Piece, starts
from stream_server.speakers.community.diarizer import CLEAR_SEC
from stream_server.speakers.community.feature import SAMPLE_RATE
from stream_server.speakers.community.network import FRAME, WINDOW
from stream_server.speakers.community.track import Count, turns_of
from stream_server.speakers.turn import Turn, label_of

MOST_NODES: Final = 200
"""Voices that are held apart: what a segment costs grows with their square."""

ENOUGH_SEC: Final = 2.0
"""Somebody new need not have said more, however long the others have spoken: callers are told at once."""

LITTLE_SEC: Final = 0.1
"""What a voice weighs that has had nothing to itself; weighing nothing, it would be nobody's."""

REMEMBERED: Final = 200
"""Segments that can be told anew."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is known when a segment has been heard.

    ``turns``: who speaks in it, in order of time; at least one. ``revised``: earlier segments whose turns are others
    now, by their id, each with all of its turns.
    """

    turns: tuple[Turn, ...]
    revised: Mapping[int, tuple[Turn, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What was heard in so many samples of a segment."""

    samples: int
    windows: tuple[Heard, ...]

    def settled(self, samples: int) -> dict[int, Heard]:
        """The windows that were whole, and are where the segment has so many samples, by their first frame."""
        end = min(samples, self.samples)
        return {heard.start: heard for heard in self.windows if heard.start * FRAME + WINDOW <= end}


@dataclass(slots=True, eq=False)
class _Segment:
    """A segment that can be told anew. ``pieces``: with frames counted from its beginning; ``vectors`` and ``speakers``
    of each; ``told``: what the caller knows."""

    id: int
    start_ms: int
    end_ms: int
    counts: NDArray[np.intp]
    pieces: tuple[tuple[int, int], ...]
    vectors: NDArray[np.float32]
    speakers: NDArray[np.intp]
    told: tuple[Turn, ...] = ()


def whole(samples: int) -> int:
    """How much of a segment that has so many samples, and goes on, can be analysed for good: its windows so far."""
    return 0 if samples < WINDOW else (samples - WINDOW) // STEP * STEP + WINDOW


class LiveDiarization:
    """The voices of one channel of one caller. Not for two threads at once."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._nodes = Nodes(MOST_NODES, enough=ENOUGH_SEC)
        self._weights: list[float] = []  # of every vector in the nodes
        self._speakers = np.zeros(0, np.intp)  # as told last
        self._known = 0  # speakers who have a label
        self._segments: deque[_Segment] = deque(maxlen=REMEMBERED)
        self._last = label_of(0)  # who spoke last

    def analyse(self, samples: NDArray[np.float32], earlier: Analysis | None = None) -> Analysis:
        """What is heard in a segment, or in as much of it as there is: mono, 16 kHz. Changes nothing.

        Takes some 0.04 s for a second of audio. ``earlier``: of the same segment when there was less of it, or
        more: a forced cut takes some back. What was settled then is not heard again, so that at most the last ten
        seconds are left to do.
        """
        settled = earlier.settled(len(samples)) if earlier is not None else {}
        windows = (
            settled.get(first) or self._analyzer.hear(samples[first * FRAME :][:WINDOW], first)
            for first in starts(len(samples))
        )
        return Analysis(len(samples), tuple(windows))

    def tell(self, segment_id: int, start: int, analysis: Analysis) -> Spoken:
        """Who speaks in a segment that begins with sample ``start`` of the channel; ``analysis``: of all of it.

        Segments come in order.
        """
        count = Count()
        pieces: list[tuple[int, Piece]] = []
        for window in analysis.windows:
            count.add(window)
            pieces += [(window.start, piece) for piece in window.pieces if piece.vector is not None]
        pieces.sort(key=lambda found: found[0] + found[1].start)
        self._learn([piece for _, piece in pieces])
        start_ms = 1000 * start // SAMPLE_RATE
        segment = _Segment(
            segment_id,
            start_ms,
            start_ms + max(1, 1000 * analysis.samples // SAMPLE_RATE),
            count.mean(),
            tuple((first + piece.start, first + piece.end) for first, piece in pieces),
            np.array([piece.vector for _, piece in pieces]),
            np.zeros(0, np.intp),
        )
        self._segments.append(segment)
        return self._told(segment)

    def _learn(self, pieces: Sequence[Piece]) -> None:
        """Take part: voices that are clear, or the first ones there are."""
        clear = [piece for piece in pieces if piece.clean_sec >= CLEAR_SEC]
        for piece in clear or ([] if len(self._nodes) else pieces):
            assert piece.vector is not None
            weight = max(piece.clean_sec, LITTLE_SEC)
            self._nodes.add(piece.vector, weight)
            self._weights.append(weight)

    def _told(self, newest: _Segment) -> Spoken:
        if not len(self._nodes):
            newest.told = (Turn(newest.start_ms, newest.end_ms, self._last),)
            return Spoken(newest.told)  # the label is still to be had: most likely it is the first voice's
        clusters = self._nodes.cluster()
        heard = clusters.nearest(newest.vectors) if len(newest.pieces) else ()
        names = self._names(clusters.of, len(clusters.centers), heard)
        revised = {}
        for segment in self._segments:
            who = names[clusters.nearest(segment.vectors)] if len(segment.pieces) else np.zeros(0, np.intp)
            if segment is not newest and np.array_equal(who, segment.speakers):
                continue
            turns = self._turns(segment, who)
            segment.speakers = who
            if turns != segment.told:
                if segment is not newest:
                    revised[segment.id] = turns
                segment.told = turns
        self._last = newest.told[-1].speaker
        return Spoken(newest.told, revised)

    def _names(self, clusters: NDArray[np.intp], count: int, heard: Iterable[int]) -> NDArray[np.intp]:
        """The speaker of each cluster: who has most in common with it, by seconds, of those told so far; else a new
        one, in the order in which they are ``heard``."""
        old = np.full(len(clusters), -1, np.intp)
        old[: len(self._speakers)] = self._speakers
        shared = np.zeros((count, self._known))
        both = (clusters >= 0) & (old >= 0)
        np.add.at(shared, (clusters[both], old[both]), np.array(self._weights)[both])
        names = np.full(count, -1, np.intp)
        while shared.size and shared.max() > 0:
            cluster, speaker = divmod(int(shared.argmax()), shared.shape[1])
            names[cluster] = speaker
            shared[cluster], shared[:, speaker] = 0, 0
        for cluster in dict.fromkeys((*heard, *range(count))):
            if names[cluster] < 0:
                names[cluster] = self._known
                self._known += 1
        # Who has said too little by now keeps the label, for when more of him is heard.
        self._speakers = np.where(clusters >= 0, names[clusters], old)
        return names

    def _turns(self, segment: _Segment, who: NDArray[np.intp]) -> tuple[Turn, ...]:
        spans = ((first, end, int(speaker)) for (first, end), speaker in zip(segment.pieces, who, strict=True))
        turns = turns_of(segment.counts, spans, self._known, segment.end_ms - segment.start_ms)
        if not turns:  # too short to be told by: whoever has spoken goes on
            speaker = segment.told[0].speaker if segment.told else self._last
            return (Turn(segment.start_ms, segment.end_ms, speaker),)
        return tuple(Turn(segment.start_ms + start, segment.start_ms + end, label_of(who)) for start, end, who in turns)
