"""Who speaks in a live call: what labels mean over many segments, and what is told anew."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_server.speakers import live
from stream_server.speakers.community.analysis import Analyzer, Heard, Piece, starts
from stream_server.speakers.community.network import FRAME, FRAMES
from stream_server.speakers.live import Analysis, LiveDiarization
from stream_server.speakers.turn import Turn

DIMENSION = 16
RATE = 16_000


def unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def axis(number: int) -> NDArray[np.float32]:
    return np.eye(DIMENSION, dtype=np.float32)[number]


ANN, BOB, CAT = axis(0), axis(1), axis(2)
LEFT, RIGHT = unit(2 * axis(3) + axis(4)), unit(2 * axis(3) - 2 * axis(4))
"""Two voices that are not alike enough to be one, and..."""
MIDDLE = axis(3)
"""... a third that is like both, so that all are one person."""

Voice = NDArray[np.float32]
Said = tuple[Voice, float] | tuple[Voice, float, float]


def heard(*said: Said) -> Analysis:
    """What was heard in a segment: voices, how long each speaks, and how long alone if not all the time."""
    pieces, frame = [], 0
    for voice, seconds, *alone in said:
        end = frame + round(seconds * RATE / FRAME)
        pieces.append(Piece(frame, end, alone[0] if alone else seconds, voice))
        frame = end
    assert frame <= FRAMES
    return Analysis(frame * FRAME, (Heard(0, np.ones(frame, np.uint8), tuple(pieces)),))


def mumbled(seconds: float = 0.3) -> Analysis:
    """A segment too short to tell a voice by."""
    count = round(seconds * RATE / FRAME)
    return Analysis(count * FRAME, (Heard(0, np.ones(count, np.uint8), (Piece(0, count, seconds, None),)),))


class Call:
    """What a caller knows: the speakers of each segment, as told last. ``revised``: of the newest segment."""

    def __init__(self) -> None:
        self._diarization = LiveDiarization(cast(Analyzer, None))
        self._start = 0
        self.turns: dict[int, tuple[Turn, ...]] = {}
        self.revised: list[int] = []

    def say(self, analysis: Analysis) -> list[str]:
        """Another segment; the speakers of its turns."""
        number = len(self.turns)
        spoken = self._diarization.tell(number, self._start, analysis)
        self._start += analysis.samples + RATE
        for segment, turns in spoken.revised.items():
            assert segment in self.turns, "it was told before"
            assert turns != self.turns[segment], "it is told because it has changed"
        self.turns |= {number: spoken.turns, **spoken.revised}
        self.revised = sorted(spoken.revised)
        assert spoken.turns
        return [turn.speaker for turn in spoken.turns]

    def speakers(self) -> list[list[str]]:
        return [[turn.speaker for turn in self.turns[number]] for number in range(len(self.turns))]


def single(*numbers: int) -> list[list[str]]:
    return [[f"SPEAKER_{number:02}"] for number in numbers]


def test_labels_keep_their_meaning() -> None:
    call = Call()
    who = [0, 1, 0, 0, 2, 1, 2, 0] * 30
    rng = np.random.default_rng(1)
    for speaker in who:
        voice = unit((ANN, BOB, CAT)[speaker] + 0.1 * rng.standard_normal(DIMENSION))
        assert call.say(heard((voice, 2.5))) == [f"SPEAKER_{speaker:02}"]
        assert call.revised == []
    assert call.speakers() == single(*who)


def test_turns_are_in_time_of_the_channel() -> None:
    call = Call()
    call.say(heard((ANN, 4.0)))
    call.say(heard((BOB, 3.0), (ANN, 2.0)))
    one, two = call.turns[1]
    start = 4.0 + 1.0
    assert one.start_ms == pytest.approx(1000 * start, abs=40)
    assert two.start_ms == one.end_ms == pytest.approx(1000 * (start + 3), abs=40)
    assert two.end_ms == pytest.approx(1000 * (start + 5), abs=40)


def test_labels_are_in_order_of_first_speech_however_much_is_said() -> None:
    call = Call()
    assert call.say(heard((CAT, 1.1), (ANN, 2.0), (BOB, 6.0))) == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]
    assert call.say(heard((BOB, 3.0), (CAT, 2.0))) == ["SPEAKER_02", "SPEAKER_00"]


def test_pieces_of_a_window_are_in_no_order() -> None:
    """They come speaker by speaker."""
    call = Call()
    window = Heard(0, np.ones(500, np.uint8), (Piece(200, 500, 5.0, ANN), Piece(0, 200, 3.0, BOB)))
    assert call.say(Analysis(500 * FRAME, (window,))) == ["SPEAKER_00", "SPEAKER_01"]
    assert call.say(heard((BOB, 3.0))) == ["SPEAKER_00"]


def test_the_first_voice_has_the_first_label_whatever_was_mumbled_before() -> None:
    call = Call()
    assert call.say(mumbled()) == ["SPEAKER_00"]
    assert call.say(heard((ANN, 3.0))) == ["SPEAKER_00"]
    assert call.say(heard((BOB, 3.0))) == ["SPEAKER_01"]


def test_what_is_too_short_to_tell_is_of_who_spoke_last() -> None:
    call = Call()
    call.say(heard((ANN, 3.0)))
    call.say(heard((ANN, 3.0), (BOB, 3.0)))
    assert call.say(mumbled()) == ["SPEAKER_01"]
    assert call.say(heard((ANN, 3.0))) == ["SPEAKER_00"]
    assert call.revised == []
    assert call.speakers()[2] == ["SPEAKER_01"]


@pytest.mark.parametrize("samples", [0, 1, 4000])
def test_a_segment_in_which_nothing_is_heard_has_one_turn(samples: int) -> None:
    call = Call()
    nothing = Analysis(samples, (Heard(0, np.zeros(-(-samples // FRAME), np.uint8), ()),))
    assert call.say(nothing) == ["SPEAKER_00"]
    (turn,) = call.turns[0]
    assert (turn.start_ms, turn.end_ms) == (0, max(1, samples // 16))


def test_a_short_word_can_be_told_by_its_voice() -> None:
    """It takes no part in the clustering."""
    call = Call()
    call.say(heard((ANN, 3.0)))
    call.say(heard((BOB, 3.0)))
    assert call.say(heard((ANN, 0.6))) == ["SPEAKER_00"]
    assert call.say(heard((CAT, 0.6))) != ["SPEAKER_02"]


def test_the_first_words_may_be_short() -> None:
    call = Call()
    assert call.say(heard((ANN, 0.5))) == ["SPEAKER_00"]
    assert call.say(heard((BOB, 3.0))) == ["SPEAKER_01"]
    assert call.say(heard((ANN, 3.0))) == ["SPEAKER_00"]
    assert call.revised == []


def test_a_voice_that_was_never_alone_keeps_its_label() -> None:
    """It weighs little, but it is somebody's."""
    call = Call()
    assert call.say(heard((ANN, 3.0, 0.0), (BOB, 3.0, 0.0))) == ["SPEAKER_00", "SPEAKER_01"]
    assert call.say(heard((BOB, 3.0))) == ["SPEAKER_01"]
    assert call.say(heard((CAT, 3.0))) == ["SPEAKER_02"]
    assert call.say(heard((ANN, 3.0))) == ["SPEAKER_00"]


def test_somebody_new_is_told_at_once_however_long_the_others_have_spoken() -> None:
    call = Call()
    for _ in range(60):
        call.say(heard((ANN, 9.0)))
    assert call.say(heard((BOB, 2.5))) == ["SPEAKER_01"]


def test_who_has_said_little_and_comes_back_has_his_label_again() -> None:
    call = Call()
    call.say(heard((ANN, 3.0)))
    assert call.say(heard((CAT, 1.2))) == ["SPEAKER_01"]
    for _ in range(20):
        call.say(heard((BOB, 8.0)))
    assert call.speakers()[1] != ["SPEAKER_01"], "by now it is less than anybody says"
    assert call.say(heard((CAT, 2.0))) == ["SPEAKER_01"]
    assert call.revised == [1]
    assert call.speakers() == single(0, 1, *[2] * 20, 1)


def test_two_who_turn_out_to_be_one_are_told_anew() -> None:
    call = Call()
    assert call.say(heard((LEFT, 3.0))) == ["SPEAKER_00"]
    assert call.say(heard((RIGHT, 2.0))) == ["SPEAKER_01"]
    assert call.say(heard((BOB, 2.0))) == ["SPEAKER_02"]
    assert call.revised == []
    assert call.say(heard((MIDDLE, 9.0))) == ["SPEAKER_00"]
    assert call.revised == [1]
    assert call.speakers() == single(0, 0, 2, 0)
    assert call.say(heard((BOB, 2.0))) == ["SPEAKER_02"]
    assert call.say(heard((CAT, 2.0))) == ["SPEAKER_03"], "a label that was given up is not given to somebody else"


def test_the_label_of_whoever_has_said_more_stays() -> None:
    call = Call()
    call.say(heard((LEFT, 2.0)))
    call.say(heard((RIGHT, 6.0)))
    assert call.say(heard((MIDDLE, 9.0))) == ["SPEAKER_01"]
    assert call.revised == [0]


def test_only_what_is_remembered_is_told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REMEMBERED", 3)
    call = Call()
    for voice in (LEFT, RIGHT, RIGHT, BOB):
        call.say(heard((voice, 2.0 if voice is RIGHT else 5.0)))
    call.say(heard((MIDDLE, 9.0)))
    assert call.revised == [2]


def test_what_stays_as_it_was_is_not_told_anew() -> None:
    """A voice turns out to be another's: where it was outvoted, or nothing was counted, nothing changes."""
    outvoted = (Piece(0, 300, 5.0, LEFT), Piece(0, 300, 5.0, LEFT), Piece(100, 200, 1.7, RIGHT))
    call = Call()
    call.say(Analysis(300 * FRAME, (Heard(0, np.ones(300, np.uint8), outvoted),)))
    assert call.say(heard((BOB, 3.0))) == ["SPEAKER_02"]
    silent = Heard(0, np.zeros(100, np.uint8), (Piece(0, 100, 1.7, RIGHT),))
    assert call.say(Analysis(100 * FRAME, (silent,))) == ["SPEAKER_02"]
    assert call.say(heard((RIGHT, 2.0))) == ["SPEAKER_01"]
    assert call.say(heard((MIDDLE, 9.0))) == ["SPEAKER_00"]
    assert call.revised == [3]
    assert call.speakers() == single(0, 2, 2, 0, 0)


def test_pieces_lie_where_their_window_does() -> None:
    first = Heard(0, np.ones(FRAMES, np.uint8), (Piece(0, 396, 6.7, ANN), Piece(396, FRAMES, 3.2, BOB)))
    second = Heard(296, np.ones(FRAMES, np.uint8), (Piece(0, 100, 1.7, ANN), Piece(100, FRAMES, 8.2, BOB)))
    call = Call()
    assert call.say(Analysis((296 + FRAMES) * FRAME, (first, second))) == ["SPEAKER_00", "SPEAKER_01"]
    ann, bob = call.turns[0]
    assert ann.end_ms == bob.start_ms == pytest.approx(396 * FRAME / 16, abs=30)
    assert bob.end_ms == pytest.approx((296 + FRAMES) * FRAME / 16, abs=30)


POOL = [unit(vector) for vector in np.random.default_rng(8).standard_normal((12, 3))]
"""Voices so alike that who is who changes with almost every segment."""


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(POOL) - 1), st.floats(0.7, 5.0)), min_size=2, max_size=40))
def test_what_a_caller_knows_is_never_at_odds_with_itself(said: list[tuple[int, float]]) -> None:
    """Segments with the same voice have the same speaker, whatever was told before: no change goes untold."""
    call = Call()
    for number, seconds in said:
        call.say(heard((POOL[number], seconds)))
        speaker: dict[int, list[str]] = {}
        for (voice, _), speakers in zip(said, call.speakers(), strict=False):
            assert speaker.setdefault(voice, speakers) == speakers


def test_what_changes_is_seen_in_that_test() -> None:
    call = Call()
    revised = 0
    for number in np.random.default_rng(2).integers(0, len(POOL), 40):
        call.say(heard((POOL[number], 3.0)))
        revised += len(call.revised)
    assert revised > 5


def test_a_crowd_does_not_run_out_of_labels() -> None:
    """More voices than are held apart, in more segments than are remembered, some of a minute."""
    rng = np.random.default_rng(3)
    voices = [unit(vector) for vector in rng.standard_normal((40, 64))]
    diarization = LiveDiarization(cast(Analyzer, None))
    labels = set()
    for number in range(260):
        seconds = 60 if number % 20 == 0 else 6
        count = seconds * RATE // FRAME
        windows = tuple(
            Heard(
                first,
                np.ones(min(FRAMES, count - first), np.uint8),
                tuple(Piece(at, at + 170, 2.8, voices[rng.integers(40)]) for at in (0, 170)),
            )
            for first in starts(seconds * RATE)
        )
        spoken = diarization.tell(number, number * 60 * RATE, Analysis(seconds * RATE, windows))
        labels |= {turn.speaker for turn in spoken.turns}
        assert len(spoken.revised) <= live.REMEMBERED
    assert 30 <= len(labels) <= 40
    assert len(diarization._nodes._sums) <= live.MOST_NODES
    assert len(diarization._segments) == live.REMEMBERED
