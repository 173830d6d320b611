"""The normaliser of the word error rate."""

import pytest

from bench.text import normalize


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Margaret said, \u201cMr. Hale!\u201d", "margaret said mister hale"),
        ("Mrs. Thornton; Dr. Bell", "missus thornton doctor bell"),
        ("You don\u2019t mean that \u2018silly\u2019 thing?", "you don't mean that silly thing"),
        ("a shop-boy\u2014once", "a shop boy once"),
        ("the boys' hats, 'tis", "the boys hats tis"),
        ("Smith & Sons: 5%", "smith and sons 5 percent"),
        ("OK.\tAll   right\n", "okay all right"),
        ("\ufb01ne caf\u00e9", "fine caf\u00e9"),
        ("...", ""),
        ("", ""),
    ],
)
def test_spellings_that_say_the_same_become_one(written: str, said: str) -> None:
    assert normalize(written) == said


def test_is_stable_under_repetition() -> None:
    once = normalize("It\u2019s Mr. O'Neil\u2019s \u2013 alright & OK, e.g. 3.5%")
    assert normalize(once) == once


def test_different_words_stay_different() -> None:
    assert normalize("its") != normalize("it's")
    assert normalize("5") != normalize("five")
