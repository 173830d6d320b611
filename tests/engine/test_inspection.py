"""What a recognizer may return, and what is taken for garbage."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from stream_server.engine.inspection import inspect
from stream_server.engine.recognizer import GarbageError
from stream_server.engine.work import SAMPLE_RATE, Hypothesis, TimedWord

START, END = 10 * SAMPLE_RATE, 14 * SAMPLE_RATE
WORDS = (TimedWord("guten", START, START + 4000, 0.9), TimedWord("Tag", START + 4000, END, 1.0))
GOOD = Hypothesis("guten Tag", 5, 0.9, "de", WORDS)


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        Hypothesis("", 0, 0.0, ""),
        replace(GOOD, words=()),
        replace(GOOD, text="ቋንቋ 👋", stable_chars=5),
        replace(GOOD, confidence=1.0 + 1e-7),
        replace(GOOD, words=(TimedWord("early", START - 100, END + 100, 0.5),)),
        replace(GOOD, text="a" * 1400, stable_chars=1400),
    ],
)
def test_what_can_be_is_believed(good: Hypothesis) -> None:
    inspect(good, START, END)


def word(**changed: Any) -> dict[str, Any]:
    return {"words": (replace(WORDS[0], **changed),)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text": b"bytes"}, "no text"),
        ({"text": None}, "no text"),
        ({"language": None}, "no text"),
        ({"text": "a" * 1401}, "1401 characters for 4.0 s"),
        ({"text": "half \ud83d"}, "not Unicode"),
        ({"stable_chars": 10}, "10 stable characters of 9"),
        ({"stable_chars": -1}, "-1 stable characters"),
        ({"stable_chars": 1.5}, "1.5 stable characters"),
        ({"confidence": nan}, "confidence of nan"),
        ({"confidence": inf}, "confidence of inf"),
        ({"confidence": -0.5}, "confidence of -0.5"),
        ({"confidence": "high"}, "confidence of 'high'"),
        (word(word=None), "no text"),
        (word(word="\udc00"), "no text"),
        (word(confidence=nan), "for a word"),
        (word(start=0), "a word from sample 0"),
        (word(end=END + 2 * SAMPLE_RATE), "a word from sample"),
        (word(start=START + 100, end=START), "a word from sample"),
        (word(start=nan), "a word from sample nan"),
        ({"words": WORDS[::-1]}, "order of time"),
    ],
)
def test_what_cannot_be_is_garbage(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(GarbageError, match=problem):
        inspect(replace(GOOD, **changes), START, END)


def test_nothing_that_was_said_is_in_the_message() -> None:
    with pytest.raises(GarbageError) as caught:
        inspect(replace(GOOD, text="secret " * 1000), START, END)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("other", [None, "guten Tag", 7, (GOOD,)])
def test_something_else_in_place_of_a_hypothesis(other: object) -> None:
    with pytest.raises(GarbageError, match=type(other).__name__):
        inspect(other, START, END)
