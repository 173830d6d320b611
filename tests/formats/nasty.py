"""Transcripts that nobody would like to meet: markup, quotes, breaks, control characters, emoji."""

from __future__ import annotations

from hypothesis import strategies as st

from stream_protocol import Segment, Transcript, Turn, Word

PARTS = (
    "-->",
    "<b>",
    "</p>",
    "&amp;",
    "&",
    '"',
    '""',
    "'",
    "\\",
    "{\\an8}",
    "#00:00:01-0#",
    "1",
    "00:00:01,000 --> 00:00:02,000",
    "\n",
    "\r\n\r\n",
    "\t",
    "\x00",
    "\x1b[1m",
    "\x85",
    "\u2028",
    "\ufeff",
    "שלום",
    "\u202eabc\u202c",
    "👩‍👩‍👧",
    "é",
    "猫。",
    "it",
    "was",
)
TEXT = st.lists(st.sampled_from(PARTS) | st.text(max_size=8), max_size=6).map(" ".join)
SPEAKERS = st.sampled_from((None, "A", "B: C", 'D "E"', "<F>", "G\nH", "SPEAKER_00"))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    segments = []
    for _ in range(draw(st.integers(0, 5))):
        text, start = draw(TEXT), draw(st.integers(0, 20_000))
        words, at = [], start
        if draw(st.booleans()):
            for word in text.split():
                length = draw(st.sampled_from((0, 0, 1, 300, 2000)))
                words.append(Word(word, at, at + length, 0.5))
                at += length
        end = max(at, start + draw(st.sampled_from((0, 1, 900, 5000))))
        segments.append(Segment(text, start, end, 0.5, tuple(words), draw(SPEAKERS), draw(st.integers(0, 1))))
    segments.sort(key=lambda segment: segment.start_ms)
    turns = st.builds(Turn, st.integers(0, 9), st.integers(0, 20_000), SPEAKERS.filter(bool))
    longest = max((segment.end_ms for segment in segments), default=0)
    return Transcript(
        tuple(segments),
        draw(st.sampled_from(("en", "auto"))),
        longest + draw(st.sampled_from((0, 1000))),
        tuple(draw(st.lists(turns, max_size=3))),
    )
