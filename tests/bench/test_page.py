"""How the time to the first words is made of what the page noted."""

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed")
pytest.importorskip("psutil", reason="the extra `bench` is not installed")

from bench.page import first_words_sec

QUIET, LOUD = [1.0] * 100, [900.0] * 20
"""A second, and a fifth of one."""


def test_the_clock_begins_with_the_first_word_and_not_with_the_audio() -> None:
    sends = [(5_060.0, 2400), (5_100.0, 2400), (5_160.0, 2400)]  # the second was the promptest
    watched = {"rate": 48_000, "sends": sends, "levels": QUIET + LOUD, "firstWordsAt": 6_900.0}
    assert first_words_sec(watched) == pytest.approx(6.9 - (5.1 - 0.1 + 1.0))


def test_without_words_or_audio_there_is_no_figure() -> None:
    watched = {"rate": 48_000, "sends": [(5_100.0, 4800)], "levels": QUIET, "firstWordsAt": None}
    assert first_words_sec(watched) is None
    assert first_words_sec({"rate": 0, "sends": [], "levels": [], "firstWordsAt": 1.0}) is None
