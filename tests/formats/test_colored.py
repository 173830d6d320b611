"""The page in colours, read back by Python's HTML parser."""

from __future__ import annotations

import pytest

from stream_protocol import Segment, Transcript
from stream_server.formats import render
from stream_server.formats.colored import COLORS, GROUND, PLAIN
from tests.formats.reading import read_page


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("color", [*COLORS, PLAIN])
def test_every_color_can_be_read(color: str) -> None:
    assert (luminance(GROUND) + 0.05) / (luminance(color) + 0.05) >= 4.5


def test_speakers_have_colors_and_are_named_where_they_change() -> None:
    said = [('Hi <all> & "you".', "A"), ("Well.", "A"), ("Yes.", "B<br>"), ("Bye.", "A"), ("Noise.", None)]
    segments = tuple(Segment(text, at, at + 1, 1, (), speaker) for at, (text, speaker) in enumerate(said))
    assert read_page(render(Transcript(segments, "en", 9), "colored_text")) == [
        (COLORS[0], "A:", ' Hi <all> & "you".'),
        (COLORS[0], "", "Well."),
        (COLORS[1], "B<br>:", " Yes."),
        (COLORS[0], "A:", " Bye."),
        (PLAIN, "", "Noise."),
    ]


def test_more_speakers_than_colors() -> None:
    segments = tuple(Segment("x", at, at + 1, 1, (), f"S{at}") for at in range(len(COLORS) + 1))
    paragraphs = read_page(render(Transcript(segments, "en", 9), "colored_text"))
    assert [color for color, _, _ in paragraphs] == [*COLORS, COLORS[0]]
