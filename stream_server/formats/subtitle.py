"""SubRip (srt) and WebVTT (vtt): cues of at most two lines of 42 characters, cut at word times.

The limits are those of the common subtitling guides. WebVTT is https://www.w3.org/TR/webvtt1/; SubRip has no
standard and is written as every player reads it. It does not know about fonts, positions or reading speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from stream_protocol import Segment, Transcript, Word

MAX_LINE_CHARS: Final = 42
MAX_LINES: Final = 2
MAX_CUE_MS: Final = 7000
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


def render_srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, decimal comma."""
    blocks = []
    for number, cue in enumerate(cues(transcript), 1):
        text = "\n".join(cue.lines)
        blocks.append(f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n{text}\n")
    return "\n".join(blocks)


def render_vtt(transcript: Transcript) -> str:
    """WebVTT: decimal point, markup escaped, the speaker as a voice span."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript):
        text = "\n".join(_escape(line) for line in cue.lines)
        voice = f"<v {_escape(cue.speaker)}>" if cue.speaker else ""
        blocks.append(f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def cues(transcript: Transcript) -> list[Cue]:
    """The transcript cut to cues, in order of time."""
    made = [cue for segment in transcript.segments for cue in _cut(segment)]
    made.sort(key=lambda cue: cue.start_ms)
    shown = []
    for cue, following in zip_longest(made, made[1:]):
        end = max(cue.end_ms, cue.start_ms + _MIN_CUE_MS)
        if following is not None and following.start_ms > cue.start_ms:
            end = min(end, max(cue.end_ms, following.start_ms))
        shown.append(Cue(cue.start_ms, end, cue.lines, cue.speaker))
    return shown


def _cut(segment: Segment) -> Iterator[Cue]:
    held: list[_Piece] = []
    for piece in _pieces(segment):
        while held and not _belongs(held, piece):
            cut = len(held) if _pauses(held[-1], piece) else _clause_end(held)
            yield _cue(held[:cut], segment.speaker)
            held = held[cut:]
        held.append(piece)
    if held:
        yield _cue(held, segment.speaker)


def _pauses(before: _Piece, after: _Piece) -> bool:
    return after.start_ms - before.end_ms >= _GAP_MS


def _clause_end(pieces: list[_Piece]) -> int:
    """How many pieces to show: up to the last clause that ends in the second half of a cue, else all."""
    for count in range(len(pieces), 0, -1):
        if len(_join(pieces[:count])) <= MAX_LINE_CHARS:
            break
        if pieces[count - 1].text[-1] in _CLAUSE_ENDS:
            return count
    return len(pieces)


def _belongs(held: list[_Piece], piece: _Piece) -> bool:
    """Whether the piece may join a cue: it fits in space and time, and no sentence ends a well-filled cue before it."""
    sentence_over = held[-1].text[-1] in ".?!" and len(_join(held)) > MAX_LINE_CHARS
    return (
        not sentence_over
        and not _pauses(held[-1], piece)
        and piece.end_ms - held[0].start_ms <= MAX_CUE_MS
        and len(_lines([*held, piece])) <= MAX_LINES
    )


def _cue(pieces: list[_Piece], speaker: str | None) -> Cue:
    return Cue(pieces[0].start_ms, max(pieces[-1].end_ms, pieces[0].start_ms + 1), _balanced(pieces), speaker)


def _lines(pieces: list[_Piece]) -> list[str]:
    """Filled greedily, which needs the fewest lines."""
    lines: list[str] = []
    for piece in pieces:
        joined = (" " if piece.spaced else "") + piece.text
        if lines and len(lines[-1]) + len(joined) <= MAX_LINE_CHARS:
            lines[-1] += joined
        else:
            lines.append(piece.text)
    return lines


def _balanced(pieces: list[_Piece]) -> tuple[str, ...]:
    """Two lines of about one length, rather after a comma; one line where all fits."""
    if len(_lines(pieces)) == 1:
        return (_join(pieces),)

    def cost(split: int) -> float:
        first, second = len(_join(pieces[:split])), len(_join(pieces[split:]))
        too_long = max(first, second) > MAX_LINE_CHARS
        return abs(first - second) + 1000 * too_long - 8 * (pieces[split - 1].text[-1] in _CLAUSE_ENDS)

    best = min(range(1, len(pieces)), key=cost)
    return (_join(pieces[:best]), _join(pieces[best:]))


def _join(pieces: list[_Piece]) -> str:
    return "".join((" " if piece.spaced else "") + piece.text for piece in pieces).strip()


def _pieces(segment: Segment) -> Iterator[_Piece]:
    """The words with their times, none longer than a line."""
    position = 0
    for word in segment.words or _spread(segment):
        text = "".join(word.word.split())
        if not text:
            continue
        found = segment.text.find(text, position)
        spaced = found < 0 or segment.text[position:found] != "" or position == 0
        position = found + len(text) if found >= 0 else position
        span = word.end_ms - word.start_ms
        for start in range(0, len(text), MAX_LINE_CHARS):
            end = min(start + MAX_LINE_CHARS, len(text))
            yield _Piece(
                text[start:end],
                spaced and start == 0,
                word.start_ms + span * start // len(text),
                word.start_ms + span * end // len(text),
            )


def _spread(segment: Segment) -> list[Word]:
    """Words with times by their share of the characters, for segments that came without."""
    texts = segment.text.split()
    total = sum(map(len, texts))
    span = segment.end_ms - segment.start_ms
    words, before = [], 0
    for text in texts:
        start = segment.start_ms + span * before // total
        before += len(text)
        words.append(Word(text, start, segment.start_ms + span * before // total, segment.confidence))
    return words


def _time(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
