"""The embedded diarizer: windows are analysed as the recording is heard, and its voices are clustered at its end.

Method: local segmentation, embedding and agglomerative clustering, as in pyannote.audio (Bredin, Interspeech 2023),
with pieces of utterances as what is clustered. What is kept of an hour: about 6 MB.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.clustering import Nodes
from stream_server.speakers.community.analysis import STEP, Analyzer, Heard
from stream_server.speakers.community.feature import SAMPLE_RATE
from stream_server.speakers.community.network import FRAME, WINDOW
from stream_server.speakers.community.track import Count, labelled, turns_of
from stream_server.speakers.turn import Turn

CLEAR_SEC: Final = 1.0
"""A piece with so much speech of its own takes part in the clustering; the others go to whom they are likest."""


class CommunityDiarizer:
    """The embedded `Diarizer`; see `Diarization` for what its recordings do."""

    name = "pyannote-community-1"

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer

    def open(self, num_speakers: int | None = None) -> CommunityDiarization:
        """Begin a recording."""
        return CommunityDiarization(self._analyzer, num_speakers)


class CommunityDiarization:
    """One recording on its way."""

    def __init__(self, analyzer: Analyzer, num_speakers: int | None) -> None:
        self._analyzer = analyzer
        self._num_speakers = num_speakers
        self._waiting = np.zeros(0, np.float32)
        self._position = 0  # of the first waiting sample
        self._next = 0  # where the next window begins
        self._counts = Count()
        self._nodes = Nodes()
        self._pieces: list[tuple[int, int]] = []  # first frame and end frame in the recording
        self._vectors: list[NDArray[np.float32]] = []

    def hear(self, samples: NDArray[np.float32]) -> None:
        """See `Diarization.hear`."""
        self._waiting = np.concatenate((self._waiting, samples))
        while self._position + len(self._waiting) >= self._next + WINDOW:
            self._look(self._next)
            self._next += STEP
            # The window just heard stays: the last one of all ends with the recording, and may begin in it.
            self._waiting = self._waiting[self._next - STEP - self._position :]
            self._position = self._next - STEP

    def finish(self) -> tuple[Turn, ...]:
        """See `Diarization.finish`."""
        end = self._position + len(self._waiting)
        if end > self._next - STEP + WINDOW or self._next == 0:
            self._look(max(0, -(-(end - WINDOW) // FRAME)) * FRAME)
        if not self._vectors:
            return ()
        if not len(self._nodes):  # nobody has said more than a word
            for vector in self._vectors:
                self._nodes.add(vector, 1.0)
        clusters = self._nodes.cluster(self._num_speakers)
        nearest = clusters.nearest(np.array(self._vectors))
        spans = ((start, stop, int(who)) for (start, stop), who in zip(self._pieces, nearest, strict=True))
        turns = turns_of(self._counts.mean(), spans, len(clusters.centers), 1000 * end // SAMPLE_RATE)
        return labelled(turns)

    def close(self) -> None:
        """See `Diarization.close`."""
        self._waiting = np.zeros(0, np.float32)

    def _look(self, start: int) -> None:
        first = start - self._position
        self._take(self._analyzer.hear(self._waiting[first : first + WINDOW], start // FRAME))

    def _take(self, heard: Heard) -> None:
        self._counts.add(heard)
        for piece in heard.pieces:
            if piece.vector is None:
                continue
            self._pieces.append((heard.start + piece.start, heard.start + piece.end))
            self._vectors.append(piece.vector)
            if piece.clean_sec >= CLEAR_SEC:
                self._nodes.add(piece.vector, piece.clean_sec * STEP / WINDOW)
