"""Word errors over many files."""

import pytest

score = pytest.importorskip("bench.score", reason="the extra `bench` is not installed")


def test_counts_over_all_words_and_not_over_files() -> None:
    errors = score.score(["one two three four", "five"], ["One, too three", "five six"])
    assert (errors.words, errors.substitutions, errors.deletions, errors.insertions) == (5, 1, 1, 1)
    assert errors.percent == pytest.approx(60.0)


def test_nothing_heard_is_all_deleted() -> None:
    errors = score.score(["one two"], [""])
    assert (errors.deletions, errors.percent) == (2, 100.0)


def test_files_without_a_transcript_do_not_count() -> None:
    assert score.score(["one", " "], ["one", "noise heard as words"]).percent == 0
