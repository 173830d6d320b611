from __future__ import annotations

from stream_protocol import Segment, Transcript
from stream_protocol.transcript import join_text


def test_texts_are_joined_by_single_spaces_without_empty_ones() -> None:
    assert join_text(["Hello", "", "world."]) == "Hello world."
    assert join_text([]) == ""


def test_the_text_of_a_transcript_is_that_of_its_segments() -> None:
    segments = tuple(Segment(text, 0, 1, 0.5) for text in ("a", "", "b"))
    assert Transcript(segments, "en", 3).text == "a b"
