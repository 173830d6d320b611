"""Who speaks when: the value that diarizers make and transcripts are labelled with, and what speakers are called. It
knows no audio and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from stream_protocol.transcript import Turn

__all__ = ["UNKNOWN", "Turn", "label_of", "renamed"]

Span = tuple[int, int]
"""From and to, in milliseconds."""

UNKNOWN: Final = "unknown"
"""What somebody is called whom the registry does not know."""


def label_of(index: int) -> str:
    """What the speaker is called who was heard as number ``index``, from 0."""
    return f"SPEAKER_{index:02}"


def renamed(turns: tuple[Turn, ...], names: Mapping[str, str]) -> tuple[Turn, ...]:
    """The turns under other names; a label that is not in ``names`` stays."""
    return tuple(replace(turn, speaker=names.get(turn.speaker, turn.speaker)) for turn in turns)
