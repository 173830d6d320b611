"""Turns of what a model says of every frame: a string is a speaker, a letter a frame of 10 ms, a capital speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.speakers.nemotron.activity import turns_of
from stream_server.speakers.span import BRIDGED_MS, SHORTEST_MS
from stream_server.speakers.turn import Turn

FRAME_MS = 10


def logits_of(*speakers: str) -> np.ndarray:
    """[frames, speakers]: X speaks for sure and x not at all, O rather speaks and o rather not."""
    said = {"X": 8.0, "O": 0.5, "o": -0.5, "x": -8.0}
    return np.array([[said[letter] for letter in speaker] for speaker in speakers], np.float16).T


def turns(*speakers: str, num_speakers: int | None = None) -> list[tuple[int, int, str]]:
    found = turns_of(logits_of(*speakers), FRAME_MS, num_speakers)
    return [(turn.start_ms, turn.end_ms, turn.speaker[-2:]) for turn in found]


def test_who_is_active_has_a_turn_and_turns_may_overlap() -> None:
    one = "X" * 40 + "x" * 60
    two = "x" * 30 + "O" * 30 + "x" * 40
    assert turns(one, two) == [(0, 400, "00"), (300, 600, "01")]


def test_labels_go_by_first_speech_and_not_by_the_models_order() -> None:
    first, second = "x" * 50 + "X" * 20 + "x" * 30, "x" * 10 + "X" * 20 + "x" * 70
    assert turns(first, "x" * 100, second) == [(100, 300, "00"), (500, 700, "01")]


def test_a_short_pause_is_bridged_and_a_long_one_parts() -> None:
    bridged, parting = BRIDGED_MS // FRAME_MS - 1, BRIDGED_MS // FRAME_MS
    assert turns("X" * 20 + "x" * bridged + "X" * 20) == [(0, 400 + 10 * bridged, "00")]
    assert turns("X" * 20 + "x" * parting + "X" * 20) == [
        (0, 200, "00"),
        (200 + 10 * parting, 400 + 10 * parting, "00"),
    ]


def test_a_flicker_is_no_turn_and_no_speaker() -> None:
    shortest = SHORTEST_MS // FRAME_MS
    flicker = "x" * 5 + "X" * (shortest - 1) + "x" * 100
    speaker = "x" * 50 + "X" * shortest + "x" * (len(flicker) - 50 - shortest)
    assert turns(flicker, speaker) == [(500, 500 + SHORTEST_MS, "00")]


def test_flickers_close_together_are_a_turn() -> None:
    """They are bridged first."""
    assert turns("X" * 5 + "x" * 10 + "X" * 5) == [(0, 200, "00")]


def test_of_more_speakers_than_there_are_the_ones_with_most_speech_stay() -> None:
    """And the others' speech goes to whoever of them is more likely there."""
    one = "X" * 50 + "x" * 60 + "o" * 20
    two = "x" * 50 + "X" * 40 + "o" * 20 + "x" * 20
    three = "x" * 90 + "X" * 30 + "x" * 10
    assert turns(one, two, three, num_speakers=3) == [(0, 500, "00"), (500, 900, "01"), (900, 1200, "02")]
    assert turns(one, two, three, num_speakers=2) == [(0, 500, "00"), (500, 1100, "01"), (1100, 1200, "00")]


def test_a_speaker_who_is_not_there_is_not_made_up() -> None:
    assert turns("X" * 50, "x" * 50, num_speakers=2) == [(0, 500, "00")]
    assert turns("X" * 50, "x" * 50, num_speakers=12) == [(0, 500, "00")]


def test_one_speaker_has_all_speech() -> None:
    assert turns("X" * 50 + "x" * 50, "x" * 40 + "X" * 40 + "x" * 20, num_speakers=1) == [(0, 800, "00")]


@pytest.mark.parametrize("frames", [0, 30])
def test_silence_has_no_turns(frames: int) -> None:
    silence = np.full((frames, 4), -3.0, np.float16)
    assert turns_of(silence, FRAME_MS) == turns_of(silence, FRAME_MS, 2) == ()


@given(st.lists(st.text("XOox", min_size=120, max_size=120), min_size=1, max_size=4), st.none() | st.integers(1, 5))
def test_turns_are_in_order_and_those_of_one_speaker_apart(speakers: list[str], num_speakers: int | None) -> None:
    found = turns_of(logits_of(*speakers), FRAME_MS, num_speakers)
    assert list(found) == sorted(found)
    first: dict[str, Turn] = {}
    last: dict[str, Turn] = {}
    for turn in found:
        assert 0 <= turn.start_ms <= turn.end_ms - SHORTEST_MS
        assert turn.end_ms <= 120 * FRAME_MS
        if turn.speaker in last:
            assert turn.start_ms - last[turn.speaker].end_ms >= BRIDGED_MS
        first.setdefault(turn.speaker, turn)
        last[turn.speaker] = turn
    assert list(first) == [f"SPEAKER_{index:02}" for index in range(len(first))]
    assert len(first) <= (num_speakers or 4)
