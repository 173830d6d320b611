"""What is heard of a live segment: early, again and for good; and a real dialogue, segment by segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_server.speakers import live
from stream_server.speakers.community.analysis import STEP, Analyzer, Heard, starts
from stream_server.speakers.community.network import FRAME, FRAMES, WINDOW, CommunityEmbedder, Segmentation
from stream_server.speakers.live import Analysis, LiveDiarization
from stream_server.speakers.turn import Turn
from tests.support.speech import recording

RATE = 16_000


def segment() -> NDArray[np.float32]:
    """Of more than two windows."""
    return recording("endgame_nagg_nell.wav")[: WINDOW + STEP + 12_345]


class Counting(Analyzer):
    """Real, and counts what it has heard."""

    def __init__(self) -> None:
        super().__init__(Segmentation(), CommunityEmbedder())
        self.heard: list[int] = []

    def hear(self, samples: NDArray[np.float32], start: int) -> Heard:
        self.heard.append(start)
        return super().hear(samples, start)


@pytest.fixture(scope="module")
def analyzer() -> Counting:
    return Counting()


def same(one: Sequence[Heard], other: Sequence[Heard]) -> bool:
    def flat(windows: Sequence[Heard]) -> list[object]:
        return [
            (
                window.start,
                window.speaking.tolist(),
                [(p.start, p.end, p.clean_sec, None if p.vector is None else p.vector.tolist()) for p in window.pieces],
            )
            for window in windows
        ]

    return flat(one) == flat(other)


@pytest.fixture(scope="module")
def whole(analyzer: Counting) -> Analysis:
    return LiveDiarization(analyzer).analyse(segment())


@pytest.mark.parametrize(
    ("before", "again"), [(RATE, 3), (WINDOW - 1, 3), (WINDOW, 2), (WINDOW + 3 * FRAME, 2), (WINDOW + STEP, 1)]
)
def test_what_was_analysed_early_need_not_be_heard_again(
    before: int, again: int, analyzer: Counting, whole: Analysis
) -> None:
    diarization = LiveDiarization(analyzer)
    early = diarization.analyse(segment()[:before])
    analyzer.heard.clear()
    assert same(diarization.analyse(segment(), early).windows, whole.windows)
    assert len(analyzer.heard) == again


@pytest.mark.parametrize(("after", "again"), [(WINDOW - 1, 1), (WINDOW, 0), (WINDOW + FRAME, 1), (WINDOW + STEP, 0)])
def test_nor_where_the_segment_was_cut_earlier_after_all(
    after: int, again: int, analyzer: Counting, whole: Analysis
) -> None:
    diarization = LiveDiarization(analyzer)
    alone = diarization.analyse(segment()[:after])
    analyzer.heard.clear()
    assert same(diarization.analyse(segment()[:after], whole).windows, alone.windows)
    assert len(analyzer.heard) == again


@given(st.integers(0, 60 * RATE), st.integers(0, 60 * RATE))
def test_whole_windows_are_for_good(samples: int, more: int) -> None:
    """And there are no others: with one sample less than the next that is whole, there is nothing more to do."""
    ready = live.whole(samples)
    assert ready <= samples
    early = Analysis(ready, tuple(Heard(first, np.zeros(FRAMES, np.uint8), ()) for first in starts(ready)))
    kept = set(early.settled(samples + more))
    assert kept == (set(starts(ready)) if ready else set())
    assert kept <= set(starts(samples + more)), "none was heard in vain"
    assert samples - ready < (STEP if ready else WINDOW)


def test_it_is_covered_to_its_end(whole: Analysis) -> None:
    assert [window.start for window in whole.windows] == [0, 296, 296 + -(-12_345 // FRAME)]
    assert whole.windows[-1].start * FRAME + WINDOW >= whole.samples


def test_a_dialogue_segment_by_segment(analyzer: Counting) -> None:
    """Cut where nobody speaks; the first words of the second voice are short."""
    samples = recording("endgame_nagg_nell.wav")
    cuts = [0.0, 1.3, 2.2, 3.6, 4.5, 8.4, 11.7, 14.3, 17.3, 19.1, 20.1, 22.2, 23.4]
    diarization = LiveDiarization(analyzer)
    known: dict[int, tuple[Turn, ...]] = {}
    for number, (start, end) in enumerate(zip(cuts, [*cuts[1:], 27.7], strict=True)):
        first = round(start * RATE)
        spoken = diarization.tell(number, first, diarization.analyse(samples[first : round(end * RATE)]))
        known |= {number: spoken.turns, **spoken.revised}
    speakers = [{turn.speaker for turn in turns} for turns in known.values()]
    assert speakers == [*[{"SPEAKER_00"}, {"SPEAKER_01"}] * 6, {"SPEAKER_00"}]
