"""Who speaks when: the value that diarizers make and transcripts are labelled with. It knows no audio and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

UNKNOWN: Final = "unknown"
"""What somebody is called whom the registry does not know."""


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """``speaker`` speaks from ``start_ms`` to ``end_ms``. Turns of different speakers may overlap; those of one do
    not."""

    start_ms: int
    end_ms: int
    speaker: str


def label_of(index: int) -> str:
    """What the speaker is called who was heard as number ``index``, from 0."""
    return f"SPEAKER_{index:02}"


def renamed(turns: tuple[Turn, ...], names: Mapping[str, str]) -> tuple[Turn, ...]:
    """The turns under other names; a label that is not in ``names`` stays."""
    return tuple(replace(turn, speaker=names.get(turn.speaker, turn.speaker)) for turn in turns)
