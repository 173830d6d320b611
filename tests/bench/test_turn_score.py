"""Error rates of turns and words that are known beforehand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from bench.conversation import Conversation
from bench.labelled_speech import RATE
from stream_protocol.transcript import Word
from stream_server.speakers.turn import Turn

turn_score = pytest.importorskip("bench.turn_score", reason="the extra `bench` is not installed")

Spans = list[tuple[float, float, str]]

TWO: Spans = [(0, 10, "ann"), (10, 20, "bob")]
SCORED = 20 - 0.25 - 0.5 - 0.25
"""Seconds of it that are not next to a border."""


def truth(spans: Spans) -> Conversation:
    turns = tuple((round(start * RATE), round(end * RATE), name) for start, end, name in spans)
    return Conversation(np.zeros(max(end for _, end, _ in turns), np.float32), turns)


def turns(spans: Spans) -> tuple[Turn, ...]:
    return tuple(Turn(round(1000 * start), round(1000 * end), name) for start, end, name in spans)


def scored(spans: Spans, heard: Spans) -> tuple[float, object]:
    score = turn_score.TurnScore()
    return score.add(truth(spans), turns(heard)), score.total()


def test_what_is_right_has_no_errors_whatever_the_labels() -> None:
    error, total = scored(TWO, [(0, 10, "1"), (10, 20, "0")])
    assert error == 0
    assert total == turn_score.Der(0, 0, 0, 0, 0)


def test_one_speaker_for_two_is_confusion() -> None:
    error, total = scored(TWO, [(0, 20, "0")])
    assert error == pytest.approx(9.5 / SCORED)
    assert total.confusion == total.error == pytest.approx(error)
    assert (total.missed, total.false_alarm) == (0, 0)
    assert total.without_collar == pytest.approx(0.5)


def test_a_speaker_who_is_not_heard_is_missed() -> None:
    error, total = scored(TWO, [(0, 10, "0")])
    assert total.missed == error == pytest.approx(9.5 / SCORED)
    assert total.without_collar == pytest.approx(0.5)


def test_a_speaker_who_is_not_there_is_a_false_alarm() -> None:
    error, total = scored([(0, 10, "ann"), (14, 24, "bob")], [(0, 14, "0"), (14, 24, "1")])
    assert total.false_alarm == error == pytest.approx((4 - 0.5) / SCORED)
    assert total.without_collar == pytest.approx(4 / 20)


def test_what_two_say_at_a_time_counts_twice() -> None:
    spans: Spans = [(0, 10, "ann"), (5, 15, "bob")]
    _, total = scored(spans, [(0, 5, "0"), (5, 15, "1")])
    assert total.without_collar == pytest.approx(5 / 20)
    assert total.error == total.missed == pytest.approx(4.5 / (4.5 + 2 * 4.5 + 4.5))


@pytest.mark.parametrize(("late", "wrong"), [(0.2, 0.0), (0.25, 0.0), (0.5, 0.25)])
def test_the_collar_forgives_a_quarter_of_a_second_on_either_side(late: float, wrong: float) -> None:
    for shift in (late, -late):
        error, total = scored(TWO, [(0, 10 + shift, "0"), (10 + shift, 20, "1")])
        assert error == pytest.approx(wrong / SCORED, abs=1e-6)
        assert total.without_collar == pytest.approx(late / 20)


def test_it_adds_up_by_time_and_not_by_conversation() -> None:
    score = turn_score.TurnScore()
    first = score.add(truth([(0, 10, "ann")]), turns([(0, 10, "0")]))
    second = score.add(truth([(0, 90, "ann")]), ())
    assert (first, second) == (0, 1)
    assert score.total().error == score.total().missed == pytest.approx(89.5 / (89.5 + 9.5))
    assert score.total().without_collar == pytest.approx(0.9)


def brute(spans: Spans, heard: Spans) -> float:
    """The error rate without a collar by its definition: step by step, and every assignment of labels tried."""
    step, end = 0.01, max(stop for _, stop, _ in (*spans, *heard))
    labels = sorted({label for _, _, label in heard})
    names = sorted({name for _, _, name in spans})
    names += [""] * max(0, len(labels) - len(names))
    errors = []
    for chosen in permutations(names, len(labels)):
        named = dict(zip(labels, chosen, strict=True))
        wrong = spoken = 0
        for at in np.arange(0, end, step) + step / 2:
            true = {name for start, stop, name in spans if start <= at < stop}
            found = [named[label] for start, stop, label in heard if start <= at < stop]
            wrong += max(len(true), len(found)) - sum(name in true for name in found)
            spoken += len(true)
        errors.append(wrong / spoken)
    return min(errors)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def invented(names: str) -> Spans:
        spans: Spans = []
        for name in names:
            edges = np.sort(rng.choice(1500, 6, replace=False)) / 100
            spans += [(float(edges[i]), float(edges[i + 1]), name) for i in (0, 2, 4)]
        return spans

    spans, heard = invented("abc"), invented("12" if seed % 2 else "1234")
    _, total = scored(spans, heard)
    assert total.without_collar == pytest.approx(brute(spans, heard), abs=0.002)


def word(middle: float, speaker: str | None) -> Word:
    return Word("word", round(1000 * middle) - 50, round(1000 * middle) + 50, 1.0, speaker=speaker)


def words(spans: Spans, heard: Spans, said: list[tuple[float, str | None]]) -> tuple[int, int]:
    score = turn_score.WordScore()
    score.add(truth(spans), [word(*each) for each in said], turns(heard))
    return score.words, score.right


def test_a_word_is_right_by_the_label_that_has_most_of_its_speaker() -> None:
    heard: Spans = [(0, 11, "1"), (11, 20, "0")]
    assert words(TWO, heard, [(5, "1"), (15, "0"), (16, "1"), (17, None), (18, "2")]) == (5, 2)


def test_two_labels_are_not_one_speaker() -> None:
    heard: Spans = [(0, 6, "0"), (6, 10, "1"), (10, 20, "2")]
    assert words(TWO, heard, [(3, "0"), (8, "1"), (15, "2")]) == (3, 2)


def test_next_to_a_border_and_where_nobody_speaks_words_do_not_count() -> None:
    spans: Spans = [(0, 10, "ann"), (12, 20, "bob")]
    heard: Spans = [(0, 10, "0"), (12, 20, "1")]
    assert words(spans, heard, [(9.8, "1"), (10.2, "1"), (11, "1"), (12.2, "0"), (0.2, "1"), (19.8, "0")]) == (0, 0)
    assert words(spans, heard, [(9.7, "0"), (12.3, "1")]) == (2, 2)


def test_where_two_speak_either_is_right() -> None:
    spans: Spans = [(0, 10, "ann"), (5, 15, "bob"), (20, 30, "cat")]
    heard: Spans = [(0, 10, "0"), (5, 15, "1"), (20, 30, "2")]
    assert words(spans, heard, [(7, "0"), (8, "1"), (7.5, "2")]) == (3, 2)


def test_the_share() -> None:
    assert turn_score.WordScore().share == 0
    assert turn_score.WordScore(8, 6).share == 0.75
