"""Rules for the words of a transcript: without punctuation, or with some of them masked. Text and words stay in step.

It knows nothing of what was asked for, or by whom.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from stream_protocol.transcript import Segment, Transcript

DEFAULT_WORDS: Final = (
    "asshole",
    "bastard",
    "bitch",
    "bullshit",
    "cunt",
    "fuck",
    "fucked",
    "fucker",
    "fucking",
    "goddamn",
    "motherfucker",
    "shit",
    "shitty",
)
"""What is masked where a caller names nothing: English, and short. Who needs more gives a list."""

_INSIDE_WORDS: Final = frozenset("'’-‐‑.·&@_/")
_INSIDE_NUMBERS: Final = frozenset(",:")
_BESIDE_WORDS: Final = frozenset("%&#@*")
"""Punctuation to Unicode, but read aloud, spelt with the word, or a mask of ours."""
_UNSPACED: Final = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def without_punctuation(transcript: Transcript) -> Transcript:
    """The same words without commas, full stops, quotation marks and their like.

    What belongs to a word or a number stays: don't, well-known, 3.5, 10:30, 50%. Upper case stays too.
    """
    return _reworded(transcript, _without_marks)


def masked(transcript: Transcript, words: Sequence[str]) -> Transcript:
    """The transcript with each of ``words`` turned into as many asterisks: whole words, in upper or lower case.

    Args:
        words: may hold spaces; `DEFAULT_WORDS` where it is empty.
    """
    terms = [r"\s+".join(map(re.escape, word.split())) for word in words or DEFAULT_WORDS if word.strip()]
    patterns = [re.compile(term, re.IGNORECASE) for term in terms]
    return replace(transcript, segments=tuple(_masked_segment(segment, patterns) for segment in transcript.segments))


def _reworded(transcript: Transcript, rule: Callable[[str], str]) -> Transcript:
    """The rule on every text and every word; words of which nothing is left are left out."""

    def changed(segment: Segment) -> Segment:
        words = (replace(word, word=rule(word.word)) for word in segment.words)
        return replace(segment, text=rule(segment.text), words=tuple(word for word in words if word.word))

    return replace(transcript, segments=tuple(map(changed, transcript.segments)))


def _without_marks(text: str) -> str:
    kept = []
    for place, letter in enumerate(text):
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        if not unicodedata.category(letter).startswith("P") or _is_spelt(letter, before, after):
            kept.append(letter)
        elif unicodedata.east_asian_width(letter) not in "WF":
            kept.append(" ")  # what a dash parts stays apart; scripts without spaces get none
    return " ".join("".join(kept).split())


def _is_spelt(mark: str, before: str, after: str) -> bool:
    """Whether a mark belongs to the word or number around it."""
    if mark in _BESIDE_WORDS:
        return True
    if mark in _INSIDE_NUMBERS:
        return before.isdecimal() and after.isdecimal()
    if mark == "-" and not before.strip():
        return after.isdecimal()
    return mark in _INSIDE_WORDS and _is_letter(before) and _is_letter(after)


def _masked_segment(segment: Segment, patterns: list[re.Pattern[str]]) -> Segment:
    """Masks keep the length, so a word is found again where it stood in the text, also as a part of a longer term."""
    text = _mask(segment.text, patterns)
    words, position = [], 0
    for word in segment.words:
        found = segment.text.find(word.word, position)
        if found < 0:
            words.append(replace(word, word=_mask(word.word, patterns)))
            continue
        position = found + len(word.word)
        words.append(replace(word, word=text[found:position]))
    return replace(segment, text=text, words=tuple(words))


def _mask(text: str, patterns: list[re.Pattern[str]]) -> str:
    letters = list(text)
    spans = [span for pattern in patterns for span in _whole_words(text, pattern)]
    for start, end in spans:
        letters[start:end] = ["*" if letter.strip() else letter for letter in letters[start:end]]
    return "".join(letters)


def _whole_words(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    position = 0
    while match := pattern.search(text, position):
        start, end = match.span()
        if _parts(text, start) and _parts(text, end):
            yield start, end
            position = end
        else:
            position = start + 1


def _parts(text: str, place: int) -> bool:
    """Whether a word may begin or end here: anywhere, in scripts that put no spaces between words."""
    before, after = text[place - 1 : place], text[place : place + 1]
    if not (_is_letter(before) and _is_letter(after)):
        return True
    return any(unicodedata.name(letter, "").startswith(_UNSPACED) for letter in (before, after))


def _is_letter(letter: str) -> bool:
    """Vowel signs and accents that are characters of their own count too."""
    return letter.isalnum() or (letter != "" and unicodedata.category(letter).startswith("M"))
