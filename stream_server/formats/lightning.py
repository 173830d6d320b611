"""Lightning's JSON: one object with text, confidence and, when asked for, words. It knows nothing of jobs or HTTP.

Both the answer to a request and the body of a callback are made of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from stream_protocol import Segment, Transcript, Word
from stream_protocol.transcript import join_text

WORDS: Final = "words"
WORDS_AND_MARKS: Final = "words_and_marks"
"""What a job notes as its output, so that its callback can be rendered as its caller has asked: with words, and with
punctuation between them. Anything else is neither."""

_PART_OF_WORDS: Final = frozenset("'’-%&#@*/\\")
"""Punctuation to Unicode, but read aloud or spelt with the word."""


def lightning_result(
    transcript: Transcript, *, timestamps: bool, split_punctuation: bool, request_id: str, diarized: bool = False
) -> dict[str, Any]:
    """The transcript as the document shows it; times are seconds.

    Args:
        timestamps: adds ``words``, without the punctuation that is attached to them in the text.
        split_punctuation: punctuation stands among the words, as entries without length.
        diarized: ``speakers`` is there even where nobody speaks.
    """
    result: dict[str, Any] = {
        "request_id": request_id,
        "text": transcript.text,
        "confidence": _confidence(transcript),
        "duration": transcript.duration_ms / 1000,
        "language": transcript.language,
    }
    if timestamps:
        words = (word for segment in transcript.segments for word in segment.words)
        result["words"] = [_entry(part) for word in words for part in _parts(word, keep_marks=split_punctuation)]
    if diarized or any(segment.speaker is not None for segment in transcript.segments):
        result["speakers"] = list(_turns(transcript))
    return result


def _confidence(transcript: Transcript) -> float:
    """The mean over all words; over segments by their length where there are none; 0 for silence."""
    weighted = [(word.confidence, 1) for segment in transcript.segments for word in segment.words] or [
        (segment.confidence, max(1, segment.end_ms - segment.start_ms)) for segment in transcript.segments
    ]
    if not weighted:
        return 0.0
    return round(sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted), 4)


def _parts(word: Word, *, keep_marks: bool) -> Iterator[Word]:
    """The word without the marks at its ends, and the marks before and after it at its start and end."""
    text = word.word.strip()
    start = next((place for place, letter in enumerate(text) if not _is_mark(letter)), len(text))
    end = next((place for place in range(len(text), start, -1) if not _is_mark(text[place - 1])), start)
    if keep_marks and start:
        yield Word(text[:start], word.start_ms, word.start_ms, 1.0)
    if start < end:
        yield Word(text[start:end], word.start_ms, word.end_ms, word.confidence)
    if keep_marks and end < len(text):
        yield Word(text[end:], word.end_ms, word.end_ms, 1.0)


def _is_mark(letter: str) -> bool:
    return letter not in _PART_OF_WORDS and unicodedata.category(letter).startswith("P")


def _entry(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": word.start_ms / 1000,
        "end": word.end_ms / 1000,
        "confidence": word.confidence,
    }


def _turns(transcript: Transcript) -> Iterator[dict[str, Any]]:
    """Segments of one speaker in a row, joined."""

    def speaker_of(segment: Segment) -> str | None:
        return segment.speaker

    for speaker, group in groupby(transcript.segments, speaker_of):
        segments = list(group)
        yield {
            "speaker": speaker,
            "text": join_text(segment.text for segment in segments),
            "start": segments[0].start_ms / 1000,
            "end": max(segment.end_ms for segment in segments) / 1000,
        }
