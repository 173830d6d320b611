"""What may be set about the streaming transducer. No torch here: the settings are read before the extra is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KeytermSettings:
    """How strongly keyterms are favoured, and how many.

    ``bonus``: what is added to the logit of a phrase's first token, in nats. ``depth_scale``: how it grows; the d-th
    token gets ``bonus * (1 + depth_scale * ln d)``. ``max_edges``: room per slot, about one edge for each token of each
    phrase and spelling; sixteen bytes each.
    """

    bonus: float = 1.0
    depth_scale: float = 2.0
    max_edges: int = 2048

    def __post_init__(self) -> None:
        if min(self.bonus, self.depth_scale) < 0 or self.max_edges < 1:
            raise ValueError(f"keyterm settings must not be negative: {self}")

    def bonus_at(self, depth: int) -> float:
        """The bonus of the token at this place in its phrase, counted from 1."""
        return self.bonus * (1.0 + self.depth_scale * math.log(depth))


@dataclass(frozen=True, slots=True)
class FastConformerSettings:
    """``max_batch``: most streams of one step. ``max_batch_frames``: most encoder frames of one step, over all its
    streams; more would only make steps longer. ``symbols_per_frame``: labels a frame is expected to bring at most; a
    step has room for so many, and goes on where some stream has more. ``graph_bytes``: device memory that captured
    steps may take. ``reserve_bytes``: device memory left alone when slots are allocated, beyond that.
    ``max_segment_sec``: longest segment. ``languages``: what a model that is not told the language speaks; its
    checkpoint does not say.
    """

    max_batch: int = 1024
    max_batch_frames: int = 4096
    symbols_per_frame: float = 0.8
    graph_bytes: int = 8 * 2**30
    reserve_bytes: int = 2 * 2**30
    max_segment_sec: float = 60.0
    languages: tuple[str, ...] = ("en",)
    keyterms: KeytermSettings = field(default_factory=KeytermSettings)
