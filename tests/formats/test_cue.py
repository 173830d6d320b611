"""Lines, labels and reading speed of subtitles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import srt

from stream_protocol import Segment, Word
from stream_server.formats import render
from stream_server.formats.cue import CHARS_PER_SEC, MAX_CUE_MS, cues
from tests.formats.test_format import TALE, spoken, transcript_of


@pytest.mark.parametrize("max_line", [10, 20, 42, 80])
def test_lines_have_at_most_the_length_asked_for_and_use_it(max_line: int) -> None:
    for name in ("srt", "vtt"):
        rendered = render(transcript_of(spoken(TALE, 0, 150)), name, max_line=max_line)
        lines = [line for line in rendered.split("\n") if line and "-->" not in line and not line.isdigit()]
        assert max(map(len, lines)) <= max_line
        assert max(map(len, lines)) > 0.7 * max_line
    made = cues(transcript_of(spoken(TALE, 0, 150)), max_line)
    assert "".join(line for cue in made for line in cue.lines).replace(" ", "") == TALE.replace(" ", "")
    assert all(len(cue.lines) <= 2 for cue in made)


def test_fast_speech_stays_on_through_the_silence_after_it() -> None:
    fast = spoken("It was the best of times, it was the worst of times.", 0, 80)
    (cue,) = cues(transcript_of(fast))
    assert fast.end_ms == 960
    assert cue.end_ms == 1000 * sum(map(len, cue.lines)) // CHARS_PER_SEC
    assert cue.end_ms > 2900


def test_but_not_into_the_next_cue_and_not_for_ever() -> None:
    fast = spoken("It was the best of times, it was the worst of times.", 0, 80)
    after = spoken("It was the age of wisdom.", 1500, 300)
    assert cues(transcript_of(fast, after))[0].end_ms == 1500
    (cue,) = cues(transcript_of(spoken("x" * 150, 0, 100)), 80)
    assert cue.end_ms == MAX_CUE_MS


def test_a_cue_is_not_lengthened_over_the_next_but_one() -> None:
    """Two channels begin at once, and a third cue follows."""
    first = spoken("It was the best of times, it was the worst.", 0, 50)
    together = (first, replace(first, channel=1), spoken("Next.", 800, 300))
    assert [cue.end_ms for cue in cues(transcript_of(*together))][:2] == [800, 800]


def test_srt_names_speakers_where_they_change_within_the_length_of_the_line() -> None:
    said = [spoken(TALE, speaker="SPEAKER 00"), spoken("Yes.", 20_000, speaker="SPEAKER 00")]
    said.append(spoken("No.", 22_000, speaker="B"))
    subtitles = [cue.content for cue in srt.parse(render(transcript_of(*said), "srt"))]
    assert " ".join(subtitles).replace("\n", " ") == f"SPEAKER 00: {TALE} Yes. B: No."
    assert all(len(line) <= 42 for text in subtitles for line in text.split("\n"))
    assert next(srt.parse(render(transcript_of(said[0]), "srt"))).start.total_seconds() == 0


def test_a_word_with_a_space_or_a_control_character_is_more_than_one() -> None:
    words = (Word("New York", 0, 800, 1), Word("City\x00Hall", 800, 1600, 1))
    for spoken_words in ((), words):
        segment = Segment("New York\u2028City\x00Hall", 0, 1600, 1, spoken_words)
        assert [cue.lines for cue in cues(transcript_of(segment))] == [("New York City Hall",)]
