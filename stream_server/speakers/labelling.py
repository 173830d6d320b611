"""Joins who spoke when with what was said: each word, and so each segment, gets its speaker. Values in, values out; it
knows no audio, no model and no names.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from stream_protocol.transcript import Segment, Transcript, Word
from stream_server.speakers.turn import Span, Turn


def speakers_at(words: Sequence[Span], turns: Sequence[Turn]) -> list[str | None]:
    """Who says each word of a segment; None only where there are no turns.

    It is who speaks most of the word. Of several who speak as much of it, it is the one whose turn is the longest: a
    word that lies under somebody's "yes" belongs to whom it interrupts. Where nobody speaks it is the one who speaks
    nearest: a model of speech and one of voices do not agree to the tenth of a second on where a word ends. With one
    exception: a single word between two of another speaker is that one's too, unless the turns are clear about it: at
    least half of the word is its own speaker's, and less than half the other's.
    """
    return _Floor(turns).speakers(words)


def label(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """The transcript with its turns, each word with its speaker, and each segment with the one who says it.

    A segment is cut where the speaker changes; the text stays as it was written. Words have their speakers as
    `speakers_at` says; a segment without words has the one to whom most of its time belongs.
    """
    floor = _Floor(turns)
    segments = (piece for segment in transcript.segments for piece in _labelled(segment, floor))
    return replace(transcript, segments=tuple(segments), turns=tuple(turns))


class _Voice:
    """The turns of one speaker, in order of time, as two lists to search in; what touches is one turn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, turn: Turn) -> None:
        if self._ends and turn.start_ms <= self._ends[-1]:
            self._ends[-1] = max(self._ends[-1], turn.end_ms)
        else:
            self._starts.append(turn.start_ms)
            self._ends.append(turn.end_ms)

    def share(self, start: int, end: int) -> int:
        """For how long the speaker speaks between both."""
        return sum(min(end, self._ends[at]) - max(start, self._starts[at]) for at in self._touched(start, end))

    def claim(self, start: int, end: int) -> tuple[int, int, int]:
        """The greater, the better: how much of the time is this speaker's, how near a turn is, how long that is."""
        if (share := self.share(start, end)) > 0:
            return share, 0, max(self._ends[at] - self._starts[at] for at in self._touched(start, end))
        after = bisect_right(self._ends, start)
        beside = (at for at in (after - 1, after) if 0 <= at < len(self._ends))
        return max(
            (0, -max(0, self._starts[at] - end, start - self._ends[at]), self._ends[at] - self._starts[at])
            for at in beside
        )

    def _touched(self, start: int, end: int) -> Iterator[int]:
        at = bisect_right(self._ends, start)
        while at < len(self._starts) and self._starts[at] < end:
            yield at
            at += 1


class _Floor:
    """Who has the floor when. Built once; a question costs a search among the turns of each speaker."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._voices: dict[str, _Voice] = {}
        for turn in sorted(turns):
            self._voices.setdefault(turn.speaker, _Voice(turn.speaker)).add(turn)

    def holder(self, start: int, end: int) -> str | None:
        """Who has it; of two who are alike in everything, the one who spoke first in the recording."""
        end = max(start, end)
        best = max(self._voices.values(), key=lambda voice: voice.claim(start, end), default=None)
        return None if best is None else best.name

    def speakers(self, words: Sequence[Span]) -> list[str | None]:
        """One for each word of a segment."""
        found = [self.holder(start, end) for start, end in words]
        for at in range(1, len(found) - 1):
            own, other = found[at], found[at - 1]
            if own is None or other is None:  # and so is everybody
                break
            if own != other == found[at + 1] and not self._is_clear(*words[at], own, other):
                found[at] = other
        return found

    def _is_clear(self, start: int, end: int, own: str, other: str) -> bool:
        return 2 * self._voices[own].share(start, end) >= end - start > 2 * self._voices[other].share(start, end)


@dataclass(slots=True)
class _Piece:
    """Words of one speaker, and where in the segment's text they begin."""

    speaker: str | None
    begin: int
    words: list[Word]


def _labelled(segment: Segment, floor: _Floor) -> Iterator[Segment]:
    if not segment.words:
        yield replace(segment, speaker=floor.holder(segment.start_ms, segment.end_ms))
        return
    pieces = _pieces(segment, floor.speakers([(word.start_ms, word.end_ms) for word in segment.words]))
    if len(pieces) == 1:
        yield replace(segment, words=_spoken(pieces[0]), speaker=pieces[0].speaker)
        return
    ends = [*(piece.begin for piece in pieces[1:]), len(segment.text)]
    for piece, end in zip(pieces, ends, strict=True):
        start_ms = segment.start_ms if piece is pieces[0] else piece.words[0].start_ms
        end_ms = segment.end_ms if piece is pieces[-1] else piece.words[-1].end_ms
        yield replace(
            segment,
            text=segment.text[piece.begin : end].strip(),
            start_ms=start_ms,
            end_ms=max(start_ms, end_ms),
            confidence=round(fmean(word.confidence for word in piece.words), 3),
            words=_spoken(piece),
            speaker=piece.speaker,
        )


def _spoken(piece: _Piece) -> tuple[Word, ...]:
    return tuple(replace(word, speaker=piece.speaker) for word in piece.words)


def _pieces(segment: Segment, speakers: Sequence[str | None]) -> list[_Piece]:
    """The words in runs of one speaker. The text can be cut only before a word that is found in it, so another goes
    with the piece before it."""
    pieces: list[_Piece] = []
    position = 0
    for word, speaker in zip(segment.words, speakers, strict=True):
        text = word.word.strip()
        found = segment.text.find(text, position) if text else -1
        if not pieces:
            pieces.append(_Piece(speaker, 0, [word]))
        elif found < 0 or speaker == pieces[-1].speaker:
            pieces[-1].words.append(word)
        else:
            pieces.append(_Piece(speaker, found, [word]))
        if found >= 0:
            position = found + len(text)
    return pieces
