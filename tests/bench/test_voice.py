"""Pieces of speech, and whose they are."""

from __future__ import annotations

import numpy as np
import pytest

voice = pytest.importorskip("bench.voice", reason="the extra `bench` is not installed")
identification = pytest.importorskip("bench.identification", reason="the extra `bench` is not installed")

RECORDINGS = [np.full(20_000, value, np.float32) for value in (0.1, 0.2, 0.3)]


def test_a_piece_is_as_long_as_asked_and_says_where_it_is_from() -> None:
    rng = np.random.default_rng(0)
    for seconds, recordings in ((1, 1), (2, 2), (3, 3)):
        piece, used = voice.cut(RECORDINGS, seconds, rng)
        assert len(piece) == seconds * 16_000
        assert len(used) == recordings
        assert set(np.unique(piece)) == {RECORDINGS[index][0] for index in used}


def test_who_has_said_too_little_has_no_pieces() -> None:
    speech = {"short": RECORDINGS[:1], "long": RECORDINGS}
    pieces = voice.collect(speech, 2.0, 4, lambda audio: audio[:2], np.random.default_rng(0))
    assert pieces.speaker.tolist() == [1] * 4
    assert not pieces.taken[:, 0].any()
    assert pieces.taken[:, 1:].sum(axis=1).tolist() == [2] * 4


def test_the_telephone_takes_away_what_is_high() -> None:
    times = np.arange(16_000) / 16_000
    low, high = (0.5 * np.sin(2 * np.pi * hertz * times).astype(np.float32) for hertz in (1000, 6000))
    assert np.sqrt(np.mean(voice.by_telephone(low + high) ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_pieces_of_one_recording_are_no_trial() -> None:
    vectors = {"clean": np.eye(2, dtype=np.float32)[[0, 1]], "telephone": np.eye(2, dtype=np.float32)[[1, 0]]}
    enrolled = voice.Pieces(np.array([0, 1]), np.array([[1, 0, 0], [0, 0, 1]], bool), vectors)
    tested = voice.Pieces(np.array([0, 0]), np.array([[1, 1, 0], [0, 1, 0]], bool), vectors)
    scores, kind = identification.trials(enrolled, tested, "clean")
    assert kind.tolist() == [[-1, 1], [0, 0]]
    assert scores.tolist() == [[1, 0], [0, 1]]
    assert identification.trials(enrolled, tested, "clean to telephone")[0].tolist() == [[0, 1], [1, 0]]
