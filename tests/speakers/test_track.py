"""From windows and pieces to turns."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from stream_server.speakers.community.analysis import Heard, starts
from stream_server.speakers.community.network import FIRST, FRAME, FRAMES, WINDOW
from stream_server.speakers.community.track import Count, labelled, turns_of
from stream_server.speakers.span import BRIDGED_MS, SHORTEST_MS, runs
from stream_server.speakers.turn import Turn

LONG_MS = 10**9


def at(frame: int) -> int:
    """The millisecond at which a frame begins."""
    return (frame * FRAME + FIRST) // 16


def frames(milliseconds: int) -> int:
    return milliseconds * 16 // FRAME


def heard(start: int, *speaking: int) -> Heard:
    return Heard(start, np.array(speaking, np.uint8), ())


def ones(count: int) -> np.ndarray:
    return np.ones(count, np.intp)


def counted(*windows: Heard) -> list[int]:
    count = Count()
    for window in windows:
        count.add(window)
    return count.mean().tolist()


def test_how_many_speak_is_the_mean_of_the_windows_rounded() -> None:
    assert counted(heard(0, 1, 1, 0), heard(1, 1, 2)) == [1, 1, 1]
    assert counted(heard(0, 0, 2), heard(0, 1, 2), heard(0, 0, 1)) == [0, 2]
    assert counted(heard(0, 3), heard(0, 0), heard(0, 1)) == [1]
    assert counted(heard(0, 1, 1, 1), heard(1, 1)) == [1, 1, 1]


def test_frames_that_no_window_has_are_silent() -> None:
    assert counted(heard(0, 1), heard(3, 2)) == [1, 0, 0, 2]


def test_nothing_heard_is_nothing() -> None:
    assert counted() == counted(heard(0)) == []
    assert turns_of(np.zeros(0, np.intp), [], 1, 0) == []


def test_a_count_of_any_length() -> None:
    """It grows in blocks, and forgets nothing."""
    far = 3 * 4096 - 1
    found = counted(heard(0, 1), heard(far, 2, 3))
    assert len(found) == far + 2
    assert [found[0], *found[far:]] == [1, 2, 3]
    assert sum(found) == 6


def test_a_turn_lasts_from_its_first_frame_to_its_last() -> None:
    counts = ones(300)
    counts[:20] = counts[200:] = 0
    assert turns_of(counts, [(10, 250, 0)], 1, LONG_MS) == [(at(20), at(200), 0)]


def test_nothing_lasts_longer_than_the_recording() -> None:
    assert turns_of(ones(300), [(0, 300, 0)], 1, 4000) == [(at(0), 4000, 0)]
    assert turns_of(ones(300), [(250, 300, 0)], 1, 4000) == []


def test_most_windows_decide() -> None:
    """Of three pieces over the same frames."""
    spans = [(0, 100, 1), (0, 100, 0), (0, 100, 1)]
    assert turns_of(ones(100), spans, 2, LONG_MS) == [(at(0), at(100), 1)]


def test_where_they_are_equally_many_the_one_who_has_said_more_speaks() -> None:
    """Clusters are in that order."""
    assert turns_of(ones(100), [(0, 100, 1), (0, 100, 0)], 2, LONG_MS) == [(at(0), at(100), 0)]


def test_two_at_a_time_are_two_turns() -> None:
    counts = ones(300)
    counts[100:200] = 2
    turns = turns_of(counts, [(0, 200, 1), (100, 300, 0)], 2, LONG_MS)
    assert turns == [(at(0), at(200), 1), (at(100), at(300), 0)]


def test_nobody_speaks_without_a_piece_however_many_are_counted() -> None:
    assert turns_of(2 * ones(100), [(0, 100, 1)], 3, LONG_MS) == [(at(0), at(100), 1)]
    assert turns_of(ones(100), [], 3, LONG_MS) == []


def test_pieces_that_follow_each_other_are_one_turn() -> None:
    assert turns_of(ones(200), [(0, 100, 0), (100, 200, 0)], 1, LONG_MS) == [(at(0), at(200), 0)]


@pytest.mark.parametrize(("pause", "turns"), [(BRIDGED_MS - 20, 1), (BRIDGED_MS + 20, 2)])
def test_a_short_pause_belongs_to_the_turn(pause: int, turns: int) -> None:
    resumes = 100 + frames(pause)
    found = turns_of(ones(400), [(0, 100, 0), (resumes, 300, 0)], 1, LONG_MS)
    assert len(found) == turns
    assert (found[0][0], found[-1][1]) == (at(0), at(300))


def test_a_pause_is_not_bridged_by_somebody_else() -> None:
    found = turns_of(ones(300), [(0, 100, 0), (100, 200, 1), (200, 300, 0)], 2, LONG_MS)
    assert found == [(at(0), at(100), 0), (at(100), at(200), 1), (at(200), at(300), 0)]


@pytest.mark.parametrize(("length", "turns"), [(SHORTEST_MS - 20, 0), (SHORTEST_MS + 20, 1)])
def test_a_click_is_no_turn(length: int, turns: int) -> None:
    assert len(turns_of(ones(100), [(20, 20 + frames(length), 0)], 1, LONG_MS)) == turns


def test_turns_on_both_sides_of_a_block_are_one() -> None:
    assert turns_of(ones(9000), [(4000, 8500, 1)], 2, LONG_MS) == [(at(4000), at(8500), 1)]


def test_labels_are_in_order_of_first_speech() -> None:
    assert labelled([(0, 100, 4), (50, 80, 0), (100, 200, 4), (200, 300, 2)]) == (
        Turn(0, 100, "SPEAKER_00"),
        Turn(50, 80, "SPEAKER_01"),
        Turn(100, 200, "SPEAKER_00"),
        Turn(200, 300, "SPEAKER_02"),
    )
    assert labelled([]) == ()


def test_a_mask_is_its_runs() -> None:
    mask = np.array([True, True, False, True, False, False, True])
    assert runs(mask) == [(0, 2), (3, 4), (6, 7)]
    assert runs(~mask) == [(2, 3), (4, 6)]
    assert runs(mask[:0]) == runs(np.zeros(4, bool)) == []


def test_four_hours_fit() -> None:
    """Six speakers in turn, ten seconds each, every frame heard in two windows."""
    samples = 4 * 3600 * 16_000
    tracemalloc.start()
    count, spans = Count(), []
    speaking = np.ones(FRAMES, np.uint8)
    for start in starts(samples):
        count.add(Heard(start, speaking, ()))
        spans += [(start, start + FRAMES, start // (2 * 296) % 6)]
    turns = turns_of(count.mean(), spans, 6, samples // 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {who for _, _, who in turns} == set(range(6))
    assert turns[-1][1] > samples // 16 - 100
    assert peak < 60e6


@pytest.mark.parametrize("samples", [0, 1, WINDOW - 1, WINDOW])
def test_one_window_is_enough_for_ten_seconds(samples: int) -> None:
    assert list(starts(samples)) == [0]
