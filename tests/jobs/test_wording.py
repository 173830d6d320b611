"""Punctuation removed and words masked, text and words in step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_protocol import Segment, Transcript, Word
from stream_server.jobs.wording import DEFAULT_WORDS, masked, without_punctuation


def transcript_of(text: str, words: list[str] | None = None) -> Transcript:
    said = text.split() if words is None else words
    timed = tuple(Word(word, 100 * at, 100 * at + 90, 0.9) for at, word in enumerate(said))
    return Transcript((Segment(text, 0, 1000, 0.9, timed),), "en", 1000)


def words_of(transcript: Transcript) -> list[str]:
    return [word.word for word in transcript.segments[0].words]


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Well, don't! It's 3.5 — no: 1,000 (or 50%)?", "Well don't It's 3.5 no 1,000 or 50%"),
        ('"Yes," he said… at 10:30; -5 degrees.', "Yes he said at 10:30 -5 degrees"),
        ("A well-known e-mail: a.b@c.org, AT&T.", "A well-known e-mail a.b@c.org AT&T"),
        ("yes,no — never", "yes no never"),
        ("¿Qué? ¡Sí! «Oui»", "Qué Sí Oui"),
        ("नमस्ते। मोहम्मद जी...", "नमस्ते मोहम्मद जी"),
        ("猫である。名前は、まだ「無い」。", "猫である名前はまだ無い"),
        ("f*** that.", "f*** that"),
        ("...", ""),
    ],
)
def test_punctuation_goes_and_what_belongs_to_words_stays(text: str, bare: str) -> None:
    assert without_punctuation(transcript_of(text)).text == bare


def test_words_lose_theirs_too_and_keep_their_times() -> None:
    bare = without_punctuation(transcript_of("Well, yes — “no”."))
    assert bare.segments[0].words == (Word("Well", 0, 90, 0.9), Word("yes", 100, 190, 0.9), Word("no", 300, 390, 0.9))
    assert bare.text == " ".join(words_of(bare))


@pytest.mark.parametrize(
    ("text", "terms", "hidden"),
    [
        ("Damn, DAMN the damned dam.", ["damn"], "****, **** the damned dam."),
        ("My credit  card, credit cards", ["Credit Card"], "My ******  ****, credit cards"),
        ("fuck you, fuck youth", ["fuck you", "fuck"], "**** ***, **** youth"),
        ("गधा गध", ["गध"], "गधा **"),
        ("これは秘密です", ["秘密"], "これは**です"),
        ("C++ and c, a.b", ["c++", "a.b"], "*** and c, ***"),
        ("Oh shit, bullshitter!", [], "Oh ****, bullshitter!"),
        ("anything", [" ", "-"], "anything"),
    ],
)
def test_masks(text: str, terms: list[str], hidden: str) -> None:
    made = masked(transcript_of(text), terms)
    assert made.text == hidden
    assert words_of(made) == hidden.split()
    assert [word.start_ms for word in made.segments[0].words] == [100 * at for at in range(len(text.split()))]


def test_a_word_that_is_not_in_the_text_is_masked_by_itself() -> None:
    assert words_of(masked(transcript_of("nothing like it", ["Damn,", "nothing"]), ["damn"])) == ["****,", "nothing"]


def test_our_own_list_is_masked_whole() -> None:
    assert set(masked(transcript_of(" ".join(DEFAULT_WORDS).upper()), []).text) == {"*", " "}


@given(st.text(max_size=60), st.lists(st.text(max_size=5), max_size=4))
def test_any_text_and_any_terms(text: str, terms: list[str]) -> None:
    made = masked(transcript_of(text), terms)
    assert len(made.text) == len(text)
    bare = without_punctuation(transcript_of(text))
    assert all(word for word in words_of(bare))
    assert without_punctuation(bare) == bare
