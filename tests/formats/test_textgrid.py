"""TextGrids, read back by praatio."""

from __future__ import annotations

from stream_protocol import Segment, Transcript, Word
from stream_server.formats import render
from tests.formats.reading import read_textgrid


def rows(rendered: str, tier: str) -> list[tuple[float, float, str]]:
    return [(row.start, row.end, row.label) for row in read_textgrid(rendered).getTier(tier).entries]


HELLO = Segment("Hello there.", 500, 1500, 0.9, (Word("Hello", 500, 900, 0.9), Word("there.", 1000, 1500, 0.9)), "A")
YES = Segment('Yes, "there".', 1200, 2000, 0.9, (), "B")


def test_each_speaker_has_a_tier_of_its_own_and_may_talk_over_the_other() -> None:
    rendered = render(Transcript((HELLO, YES), "en", 3000), "textgrid")
    assert rows(rendered, "A") == [(0, 0.5, ""), (0.5, 1.5, "Hello there."), (1.5, 3, "")]
    assert rows(rendered, "B") == [(0, 1.2, ""), (1.2, 2, 'Yes, "there".'), (2, 3, "")]
    assert list(read_textgrid(rendered).tierNames) == ["A", "B"]


def test_aligned_adds_words_that_were_measured_and_no_others() -> None:
    rendered = render(Transcript((HELLO, YES), "en", 3000), "textgrid_aligned")
    assert list(read_textgrid(rendered).tierNames) == ["A", "A - words", "B", "B - words"]
    assert rows(rendered, "A - words") == [
        (0, 0.5, ""),
        (0.5, 0.9, "Hello"),
        (0.9, 1, ""),
        (1, 1.5, "there."),
        (1.5, 3, ""),
    ]
    assert rows(rendered, "B - words") == [(0, 3, "")]


def test_channels_without_speakers_are_tiers() -> None:
    said = (Segment("One.", 0, 400, 0.9), Segment("Two.", 100, 500, 0.9, channel=1))
    rendered = render(Transcript(said, "en", 500), "textgrid")
    assert list(read_textgrid(rendered).tierNames) == ["speech (channel 1)", "speech (channel 2)"]


def test_what_overlaps_or_has_no_length_gives_way() -> None:
    words = (Word("a", 100, 300, 1), Word("b", 200, 400, 1), Word("c", 400, 400, 1), Word("d", 400, 400, 1))
    rendered = render(Transcript((Segment("a b c d", 100, 400, 1, words),), "en", 400), "textgrid_aligned")
    assert rows(rendered, "speech - words") == [
        (0, 0.1, ""),
        (0.1, 0.3, "a"),
        (0.3, 0.4, "b"),
        (0.4, 0.401, "c"),
        (0.401, 0.402, "d"),
    ]
    assert read_textgrid(rendered).maxTimestamp == 0.402
