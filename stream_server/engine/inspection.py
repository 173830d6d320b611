"""Looks at what a recognizer returns before anybody else does: a model that is broken, or a card that miscalculates,
must not put nonsense into a transcript or bring down what comes behind the engine.

It knows what is possible for so much audio, not whether it is right.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from stream_server.engine.recognizer import GarbageError
from stream_server.engine.work import SAMPLE_RATE, Hypothesis, TimedWord

MOST_CHARS: Final = 1000
MOST_CHARS_PER_SEC: Final = 100
"""Nobody speaks a quarter as fast; a model that repeats itself without end writes more."""

TIME_SLACK: Final = SAMPLE_RATE
"""How far outside of its audio a word may lie: frames are coarser than samples, and a cut moves words."""

_ROUNDING: Final = 1e-3


def inspect(outcome: object, start: int, end: int) -> None:
    """Look at the outcome of a task whose segment begins at sample ``start`` and was heard up to ``end``.

    Raises:
        GarbageError: this is not a hypothesis for so much audio; the message says what is wrong, without the text.
    """
    if not isinstance(outcome, Hypothesis):
        raise GarbageError(f"a {type(outcome).__name__} in place of a hypothesis")
    text = outcome.text
    if not isinstance(text, str) or not isinstance(outcome.language, str):
        raise GarbageError("a text or a language that is no text")
    seconds = (end - start) / SAMPLE_RATE
    if len(text) > MOST_CHARS + MOST_CHARS_PER_SEC * seconds:
        raise GarbageError(f"{len(text)} characters for {seconds:.1f} s of audio")
    if not _is_writable(text):
        raise GarbageError("a text that is not Unicode")
    if not isinstance(outcome.stable_chars, int) or not 0 <= outcome.stable_chars <= len(text):
        raise GarbageError(f"{outcome.stable_chars} stable characters of {len(text)}")
    if not _is_share(outcome.confidence):
        raise GarbageError(f"a confidence of {outcome.confidence!r}")
    if outcome.words is not None:
        _inspect_words(outcome.words, start - TIME_SLACK, end + TIME_SLACK)


def _inspect_words(words: tuple[TimedWord, ...], first: int, last: int) -> None:
    for word in words:
        if not isinstance(word.word, str) or not _is_writable(word.word):
            raise GarbageError("a word that is no text")
        if not _is_share(word.confidence):
            raise GarbageError(f"a confidence of {word.confidence!r} for a word")
        if not first <= word.start <= word.end <= last:
            raise GarbageError(f"a word from sample {word.start} to {word.end}, in audio from {first} to {last}")
    if any(after.start < before.start for before, after in pairwise(words)):
        raise GarbageError("words that are not in the order of time")


def _is_share(value: object) -> bool:
    """Whether it is a number from 0 to 1; what is not a number is in no order."""
    return isinstance(value, float | int) and -_ROUNDING <= value <= 1 + _ROUNDING


def _is_writable(text: str) -> bool:
    """Whether it can be sent: half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
