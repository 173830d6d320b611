"""Praat's TextGrid, long text format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html

Each speaker, or each channel where speakers are not known, is an interval tier; `textgrid_aligned` adds one with its
words. The intervals of a tier touch, never overlap and are never empty: gaps are filled with intervals without text,
and what would overlap or has no length begins later or ends later, by as little as that takes. Word times are never
guessed: a segment without them has no words in the tier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from stream_protocol import Segment, Transcript
from stream_server.formats.line import one_line

Interval = tuple[int, int, str]
"""From, to, in milliseconds, and the text."""

SPEECH: Final = "speech"
"""The tier of whoever has no name; there is one even where nothing was said, for a TextGrid must have a tier."""


def render_textgrid(transcript: Transcript) -> str:
    """A tier of segments for each speaker."""
    return _grid(transcript, aligned=False)


def render_textgrid_aligned(transcript: Transcript) -> str:
    """A tier of segments and a tier of words for each speaker."""
    return _grid(transcript, aligned=True)


def _grid(transcript: Transcript, *, aligned: bool) -> str:
    tiers: dict[str, list[Interval]] = {}
    for name, segments in _voices(transcript).items():
        tiers[name] = _fit((part.start_ms, part.end_ms, part.text) for part in segments)
        if aligned:
            words = chain.from_iterable(part.words for part in segments)
            tiers[f"{name} - words"] = _fit((word.start_ms, word.end_ms, word.word) for word in words)
    end = max([transcript.duration_ms, 1, *(tier[-1][1] for tier in tiers.values() if tier)])
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_seconds(end)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, tier) in enumerate(tiers.items(), 1):
        intervals = list(_filled(tier, end))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {_seconds(end)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for position, (start, stop, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{position}]:",
                f"            xmin = {_seconds(start)}",
                f"            xmax = {_seconds(stop)}",
                f"            text = {_quoted(text)}",
            ]
    return "\n".join(lines) + "\n"


def _voices(transcript: Transcript) -> dict[str, list[Segment]]:
    """The segments of each tier, by its name; one tier without segments where there is no speech."""
    several = len({segment.channel for segment in transcript.segments}) > 1
    voices: dict[str, list[Segment]] = {}
    for segment in transcript.segments:
        name = one_line(segment.speaker or "") or SPEECH
        if several:
            name = f"{name} (channel {segment.channel + 1})"
        voices.setdefault(name, []).append(segment)
    return voices or {SPEECH: []}


def _fit(intervals: Iterable[Interval]) -> list[Interval]:
    """In order of time, with text, none empty, none over another."""
    fitted: list[Interval] = []
    for start, end, text in sorted(intervals, key=lambda interval: interval[:2]):
        if written := one_line(text):
            start = max(start, fitted[-1][1] if fitted else 0)
            fitted.append((start, max(end, start + 1), written))
    return fitted


def _filled(intervals: list[Interval], end: int) -> Iterator[Interval]:
    """With the gaps between, before and behind them as intervals without text."""
    reached = 0
    for interval in intervals:
        if interval[0] > reached:
            yield reached, interval[0], ""
        yield interval
        reached = interval[1]
    if reached < end:
        yield reached, end, ""


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
