"""A segment that was analysed early and then cut short: what was taken from it belongs to the next one."""

from __future__ import annotations

import pytest

from stream_server.speakers.community.analysis import Analyzer
from stream_server.speakers.community.network import FRAME, WINDOW, CommunityEmbedder, Segmentation
from stream_server.speakers.live import Analysis, LiveDiarization
from tests.support.speech import recording


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(Segmentation(), CommunityEmbedder())


def spans(analysis: Analysis) -> list[tuple[int, int, list[tuple[int, int]]]]:
    return [
        (window.start, len(window.speaking), [(piece.start, piece.end) for piece in window.pieces])
        for window in analysis.windows
    ]


@pytest.mark.parametrize("cut", [WINDOW - 32_000, WINDOW - 8000])
def test_what_was_cut_off_again_is_not_in_the_analysis(cut: int, analyzer: Analyzer) -> None:
    samples = recording("endgame_nagg_nell.wav")
    diarization = LiveDiarization(analyzer)
    early = diarization.analyse(samples[: WINDOW + 8000])
    analysis = diarization.analyse(samples[:cut], early)
    assert analysis.samples == cut
    assert spans(analysis) == spans(diarization.analyse(samples[:cut])), "as if it had not been analysed early"
    assert all(window.start * FRAME + FRAME * len(window.speaking) < cut + FRAME for window in analysis.windows)
