"""When words become stable: what must hold whatever the settings are tuned to, with settings of the test's own."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.commitment import CommitmentSettings, Decode, committed_words

SETTINGS = CommitmentSettings(hold_back=1, agreement=2, evidence=4.0, decay=1.0, patience=1.0, least=0.5, memory=4)
SURE, DOUBTFUL = math.log(0.95), math.log(0.3)


def decode(text: str, logprob: float = SURE, age: float = 0.0) -> Decode:
    """Each letter is a word."""
    return Decode(tuple((ord(word),) for word in text), (logprob,) * len(text), (age,) * len(text))


def test_one_decode_alone_commits_nothing() -> None:
    assert committed_words([decode("abc")], 0, SETTINGS) == 0


def test_what_two_sure_decodes_agree_on_is_stable_but_for_the_newest_word() -> None:
    assert committed_words([decode("abc"), decode("abc")], 0, SETTINGS) == 2
    assert committed_words([decode("abc"), decode("abx")], 0, SETTINGS) == 2
    assert committed_words([decode("abc"), decode("axc")], 0, SETTINGS) == 1


def test_at_a_pause_no_word_is_cut_off() -> None:
    assert committed_words([decode("abc"), decode("abc")], 0, SETTINGS, at_pause=True) == 3


def test_a_doubtful_word_holds_up_what_follows_until_it_has_waited() -> None:
    first = [decode("abc", DOUBTFUL)] * 2
    assert committed_words(first, 0, SETTINGS) == 0
    waited = [decode("abc", DOUBTFUL), decode("abc", DOUBTFUL, age=10.0)]
    assert committed_words(waited, 0, SETTINGS) == 2


def test_a_word_another_decode_reads_differently_needs_more() -> None:
    assert committed_words([decode("ab"), decode("ab")], 0, SETTINGS) == 1
    assert committed_words([decode("ab"), decode("xb"), decode("ab")], 0, SETTINGS) == 0


words = st.text("ab", max_size=5)
decodes = st.builds(decode, words, st.floats(-5, 0), st.floats(0, 8))


@given(st.lists(decodes, min_size=1, max_size=8), st.data(), st.booleans())
def test_whatever_is_decoded(history: list[Decode], data: st.DataObject, at_pause: bool) -> None:
    """Never fewer than before, never a word that is held back, and nothing older than the memory counts."""
    newest = history[-1]
    already = data.draw(st.integers(0, len(newest.words)))
    count = committed_words(history, already, SETTINGS, at_pause=at_pause)
    assert already <= count <= max(already, len(newest.words) - (0 if at_pause else SETTINGS.hold_back))
    assert committed_words(history[-SETTINGS.memory :], already, SETTINGS, at_pause=at_pause) == count
