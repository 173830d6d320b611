"""Who speaks in a live call, segment by segment. Interface first; see `LiveDiarization`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.turn import Turn


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is known when a segment has been heard.

    ``turns``: who speaks in it, in order of time; at least one. ``revised``: earlier segments whose turns are others
    now, by their id, each with all of its turns.
    """

    turns: tuple[Turn, ...]
    revised: Mapping[int, tuple[Turn, ...]] = field(default_factory=dict)
