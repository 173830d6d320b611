"""From frames in which somebody is active to spans of time, and which of them are turns. Every diarizer ends here; it
knows none of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.turn import Span

BRIDGED_MS: Final = 250
"""A shorter pause of somebody belongs to his turn."""
SHORTEST_MS: Final = 100
"""What is left shorter than this is no turn."""


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches [from, to) where a mask is true."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def bridged(spans: Iterable[Span]) -> list[Span]:
    """One speaker's spans, in order of time, as turns: short pauses are bridged, and then a flicker is none."""
    turns: list[Span] = []
    for start, end in spans:
        if turns and start - turns[-1][1] < BRIDGED_MS:
            turns[-1] = turns[-1][0], end
        else:
            turns.append((start, end))
    return [(start, end) for start, end in turns if end - start >= SHORTEST_MS]
