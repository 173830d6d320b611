"""What was said: words and segments, as they go over the wire and into files.

Times are integer milliseconds from the first sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written (punctuation attached), with its time and the model's confidence from 0 to 1."""

    word: str
    """As written in the text, punctuation attached."""
    start_ms: int
    """Where it begins."""
    end_ms: int
    """Where it ends."""
    confidence: float
    """From 0 to 1."""
    speaker: str | None = None
    """Who said it, where speakers are told apart."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One final stretch of speech of one channel."""

    text: str
    start_ms: int
    end_ms: int
    confidence: float
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    channel: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """``speaker`` speaks from ``start_ms`` to ``end_ms``. Turns of different speakers may overlap; those of one do
    not."""

    start_ms: int
    end_ms: int
    speaker: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything that was said in one recording or session, in order of time.

    ``turns``: who spoke when, where speakers are told apart. More than the speakers of the segments: also who spoke at
    the same time as another, and where no word was understood.
    """

    segments: tuple[Segment, ...]
    language: str
    duration_ms: int
    turns: tuple[Turn, ...] = ()

    @property
    def text(self) -> str:
        return join_text(segment.text for segment in self.segments)


def join_text(texts: Iterable[str]) -> str:
    """Join the texts of segments with single spaces, leaving out empty ones."""
    return " ".join(text for text in texts if text)
