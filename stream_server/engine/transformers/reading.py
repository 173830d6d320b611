"""What a whole-segment model is asked, and what it answers: values, and the interface of the models of this folder.

It knows nothing of streams, of commitment or of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_server.engine.transformers.vocabulary import Vocabulary
from stream_server.engine.work import Audio

AUTO = "auto"
"""The language is to be found out by the model."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One clip to be read.

    ``audio``: [n] float32 at 16 kHz. ``language``: a tag of the model's, or `AUTO`. ``prefix``: tokens that the reading
    has to begin with. ``draft``: tokens that probably follow them; a reading never depends on it, only its cost does.
    Models that force no prefix are given neither. ``timed``: whether ``spans`` are wanted.
    """

    audio: Audio
    language: str = AUTO
    keyterms: tuple[str, ...] = ()
    prefix: tuple[int, ...] = ()
    draft: tuple[int, ...] = ()
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model makes of a clip.

    ``tokens``: all of them, the prefix first. ``logprobs``: natural log-probabilities of those after the prefix.
    ``language``: a tag, or what was asked for where the model cannot tell. ``spans``: where each token was spoken, in
    samples of the clip; None where the model has no times, or none were wanted. ``silence``: the probability, by the
    model itself, that nobody speaks; 0 where it does not say. ``looped``: it was cut where it began to repeat itself.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    language: str
    spans: tuple[tuple[int, int], ...] | None = None
    silence: float = 0.0
    looped: bool = False


class SegmentModel(Protocol):
    """A loaded checkpoint of one family.

    ``window``: the most samples it can read. ``forces``: whether it heeds a prefix. ``keyterms``: whether it heeds
    key terms.
    """

    vocabulary: Vocabulary
    languages: tuple[str, ...]
    window: int | None
    forces: bool
    keyterms: bool

    def read(self, requests: Sequence[Request]) -> list[Reading]:
        """Read a batch; a reading does not depend on the others of the batch, but for rounding."""
        ...
