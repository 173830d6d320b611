"""Paragraphs with times for qualitative analysis."""

from __future__ import annotations

from stream_protocol import Segment, Transcript
from stream_server.formats import render


def test_each_segment_has_its_time_and_the_speaker_where_it_changes() -> None:
    said = (
        Segment("Hello.", 1250, 2000, 1, (), "A"),
        Segment("Are you there?", 62_000, 63_000, 1, (), "A"),
        Segment("Yes.", 3_723_990, 3_725_000, 1, (), "B: guest"),
    )
    assert render(Transcript(said, "en", 4_000_000), "maxqda") == (
        "#00:00:01-2#A: Hello.\n\n#00:01:02-0#Are you there?\n\n#01:02:03-9#B guest: Yes.\n"
    )
