"""A transcript cut to cues: at most two lines, at word times, long enough on the screen to be read.

The limits are those of Netflix's Timed Text Style Guide, in general and for most languages: 42 characters to a line,
two lines, at most 7 seconds, 17 characters a second for adults. A cue that would be faster stays on through the silence
after it until it can be read at that speed, or until the next one begins. Speech that is faster than that and goes on
without a pause is shown as it is spoken: words are never left out, and cues never lag behind.

It does not know about file formats, fonts or positions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from stream_protocol import Segment, Transcript, Word
from stream_server.formats.line import one_line

MAX_LINE_CHARS: Final = 42
MAX_LINES: Final = 2
MAX_CUE_MS: Final = 7000
CHARS_PER_SEC: Final = 17
_GAP_MS: Final = 1500  # a pause as long as this starts a new cue
_CLAUSE_ENDS: Final = ",;:.?!"
_MIN_CUE_MS: Final = 700  # shorter is a flash; lengthened where nothing follows at once


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from ``start_ms`` to ``end_ms``: one or two lines."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word as it stands in the text: with a space before it or not (some scripts have none)."""

    text: str
    spaced: bool
    start_ms: int
    end_ms: int


def cues(transcript: Transcript, max_line: int = MAX_LINE_CHARS, *, labels: bool = False) -> list[Cue]:
    """The transcript cut to cues, in order of time.

    Args:
        max_line: characters to a line, at least 2.
        labels: write the speaker before the words where it changes, for formats that have no other place for it.
    """
    cutter = _Cutter(max_line)
    made: list[Cue] = []
    speaker = None
    for segment in transcript.segments:
        changed = labels and segment.speaker is not None and segment.speaker != speaker
        speaker = segment.speaker
        made += cutter.cut(segment, f"{one_line(segment.speaker or '')}:" if changed else "")
    made.sort(key=lambda cue: cue.start_ms)
    starts = [cue.start_ms for cue in made]
    return [_lengthened(cue, starts) for cue in made]


def _lengthened(cue: Cue, starts: list[int]) -> Cue:
    """Shown until it can be read, but not into the next one."""
    reading_ms = 1000 * sum(map(len, cue.lines)) // CHARS_PER_SEC
    end = max(cue.end_ms, cue.start_ms + min(MAX_CUE_MS, max(_MIN_CUE_MS, reading_ms)))
    if (following := bisect_right(starts, cue.start_ms)) < len(starts):
        end = min(end, max(cue.end_ms, starts[following]))
    return replace(cue, end_ms=end)


class _Cutter:
    """Cuts segments to cues with lines of at most ``max_line`` characters."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line

    def cut(self, segment: Segment, label: str) -> Iterator[Cue]:
        held: list[_Piece] = []
        for piece in self._pieces(segment, label):
            while held and not self._belongs(held, piece):
                cut = len(held) if _pauses(held[-1], piece) else self._clause_end(held)
                yield self._cue(held[:cut], segment.speaker)
                held = held[cut:]
            held.append(piece)
        if held:
            yield self._cue(held, segment.speaker)

    def _clause_end(self, pieces: list[_Piece]) -> int:
        """How many pieces to show: up to the last clause that ends in the second half of a cue, else all."""
        for count in range(len(pieces), 0, -1):
            if len(_join(pieces[:count])) <= self._max_line:
                break
            if pieces[count - 1].text[-1] in _CLAUSE_ENDS:
                return count
        return len(pieces)

    def _belongs(self, held: list[_Piece], piece: _Piece) -> bool:
        """Whether the piece may join a cue: it fits in space and time, and no sentence ends a well-filled cue."""
        sentence_over = held[-1].text[-1] in ".?!" and len(_join(held)) > self._max_line
        return (
            not sentence_over
            and not _pauses(held[-1], piece)
            and piece.end_ms - held[0].start_ms <= MAX_CUE_MS
            and len(self._lines([*held, piece])) <= MAX_LINES
        )

    def _cue(self, pieces: list[_Piece], speaker: str | None) -> Cue:
        end = max(pieces[-1].end_ms, pieces[0].start_ms + 1)
        return Cue(pieces[0].start_ms, end, self._balanced(pieces), speaker)

    def _lines(self, pieces: list[_Piece]) -> list[str]:
        """Filled greedily, which needs the fewest lines."""
        lines: list[str] = []
        for piece in pieces:
            joined = (" " if piece.spaced else "") + piece.text
            if lines and len(lines[-1]) + len(joined) <= self._max_line:
                lines[-1] += joined
            else:
                lines.append(piece.text)
        return lines

    def _balanced(self, pieces: list[_Piece]) -> tuple[str, ...]:
        """Two lines of about one length, rather after a comma; one line where all fits."""
        if len(self._lines(pieces)) == 1:
            return (_join(pieces),)

        def cost(split: int) -> float:
            first, second = len(_join(pieces[:split])), len(_join(pieces[split:]))
            too_long = max(first, second) > self._max_line
            return abs(first - second) + 1000 * too_long - 8 * (pieces[split - 1].text[-1] in _CLAUSE_ENDS)

        best = min(range(1, len(pieces)), key=cost)
        return (_join(pieces[:best]), _join(pieces[best:]))

    def _pieces(self, segment: Segment, label: str) -> Iterator[_Piece]:
        """The words with their times, none longer than a line; the label's at the start of the first."""
        whole = one_line(segment.text)
        words = list(_spoken(segment.words or _spread(segment)))
        if label and words:
            at = words[0].start_ms
            whole = f"{label} {whole}"
            words[:0] = (Word(part, at, at, 1.0) for part in label.split())
        position = 0
        for word in words:
            text = word.word
            found = whole.find(text, position)
            spaced = found < 0 or whole[position:found] != "" or position == 0
            position = found + len(text) if found >= 0 else position
            span = word.end_ms - word.start_ms
            for start in range(0, len(text), self._max_line):
                end = min(start + self._max_line, len(text))
                yield _Piece(
                    text[start:end],
                    spaced and start == 0,
                    word.start_ms + span * start // len(text),
                    word.start_ms + span * end // len(text),
                )


def _pauses(before: _Piece, after: _Piece) -> bool:
    return after.start_ms - before.end_ms >= _GAP_MS


def _join(pieces: list[_Piece]) -> str:
    return "".join((" " if piece.spaced else "") + piece.text for piece in pieces).strip()


def _spoken(words: tuple[Word, ...] | list[Word]) -> Iterator[Word]:
    """The words that have letters, none with a space in it."""
    for word in words:
        yield from _shared(one_line(word.word).split(), word.start_ms, word.end_ms, word.confidence)


def _spread(segment: Segment) -> list[Word]:
    """Words with times by their share of the characters, for segments that came without."""
    return _shared(one_line(segment.text).split(), segment.start_ms, segment.end_ms, segment.confidence)


def _shared(texts: list[str], start_ms: int, end_ms: int, confidence: float) -> list[Word]:
    total = sum(map(len, texts))
    words, before = [], 0
    for text in texts:
        start = start_ms + (end_ms - start_ms) * before // total
        before += len(text)
        words.append(Word(text, start, start_ms + (end_ms - start_ms) * before // total, confidence))
    return words
