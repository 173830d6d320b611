"""Every format is parsed back by somebody else's reader."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from stream_protocol import Segment, Transcript, Turn, Word
from stream_server.formats import FORMATS, MEDIA_TYPES, render
from stream_server.formats.cue import MAX_CUE_MS, MAX_LINE_CHARS, cues
from tests.formats.reading import read_page, read_textgrid

TALE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief. It was the season of Light."
)


def spoken(text: str, start_ms: int = 0, word_ms: int = 300, **fields: str) -> Segment:
    """A segment whose words take ``word_ms`` each."""
    words = tuple(
        Word(word, start_ms + index * word_ms, start_ms + (index + 1) * word_ms, 0.9)
        for index, word in enumerate(text.split())
    )
    return Segment(text, start_ms, words[-1].end_ms if words else start_ms, 0.9, words, **fields)  # type: ignore[arg-type]


def transcript_of(*segments: Segment) -> Transcript:
    return Transcript(segments, "en", max((segment.end_ms for segment in segments), default=0))


def test_txt_names_a_speaker_where_it_changes() -> None:
    said = [spoken("Hello.", speaker="A"), spoken("Yes?", 1000, speaker="A"), spoken("Hi.", 2000, speaker="B")]
    assert render(transcript_of(*said), "txt") == "A: Hello.\nYes?\nB: Hi.\n"
    assert render(transcript_of(spoken("One."), Segment("", 1, 2, 0), spoken("Two.", 9)), "txt") == "One.\nTwo.\n"


def test_json_has_seconds_and_words() -> None:
    document = json.loads(render(transcript_of(spoken("Best of times.", 1250)), "json"))
    assert document["text"] == "Best of times."
    assert document["duration"] == 2.15
    (segment,) = document["segments"]
    assert (segment["start"], segment["end"], segment["channel"], segment["speaker"]) == (1.25, 2.15, 0, None)
    assert segment["words"][1] == {"word": "of", "start": 1.55, "end": 1.85, "confidence": 0.9}


def test_json_has_the_speakers_of_words_and_their_turns_where_they_are_known() -> None:
    said = spoken("Best of times.", speaker="Ann: <A>")
    said = replace(said, words=tuple(replace(word, speaker="Ann: <A>") for word in said.words))
    turns = (Turn(0, 900, "Ann: <A>"), Turn(250, 500, "SPEAKER_01"))
    document = json.loads(render(replace(transcript_of(said), turns=turns), "json"))
    assert document["segments"][0]["speaker"] == "Ann: <A>"
    assert [word["speaker"] for word in document["segments"][0]["words"]] == ["Ann: <A>"] * 3
    assert document["turns"] == [
        {"start": 0.0, "end": 0.9, "speaker": "Ann: <A>"},
        {"start": 0.25, "end": 0.5, "speaker": "SPEAKER_01"},
    ]
    assert "turns" not in json.loads(render(transcript_of(spoken("Best of times.")), "json"))


def test_subtitles_are_cut_at_word_times_and_keep_every_word() -> None:
    transcript = transcript_of(spoken(TALE, 3_599_000))
    subtitles = list(srt.parse(render(transcript, "srt")))
    assert " ".join(cue.content.replace("\n", " ") for cue in subtitles) == TALE
    word_starts = {word.start_ms for segment in transcript.segments for word in segment.words}
    for cue in subtitles:
        assert cue.start // timedelta(milliseconds=1) in word_starts
        assert cue.end - cue.start <= timedelta(milliseconds=MAX_CUE_MS)
        assert len(cue.content.split("\n")) <= 2
        assert max(map(len, cue.content.split("\n"))) <= MAX_LINE_CHARS
    assert subtitles[1].content == "it was the age of foolishness,\nit was the epoch of belief."
    assert subtitles[2].content == "It was the season of Light."
    assert subtitles[0].start == timedelta(seconds=3599)


def test_vtt_escapes_markup_and_names_voices() -> None:
    text = "Tom & <Jerry> say --> this."
    rendered = render(transcript_of(spoken(text, speaker="A<B")), "vtt")
    assert "<v A&lt;B>Tom &amp; &lt;Jerry&gt; say --&gt; this." in rendered
    (caption,) = webvtt.from_buffer(io.StringIO(rendered)).captions
    assert (caption.start, caption.end) == ("00:00:00.000", "00:00:01.800")


def test_segments_without_words_are_spread_over_their_time() -> None:
    made = cues(transcript_of(Segment(TALE, 0, 16_000, 0.9)))
    assert " ".join(line for cue in made for line in cue.lines) == TALE
    assert made[-1].end_ms == 16_000
    assert [cue.start_ms for cue in made] == sorted({cue.start_ms for cue in made})


def test_scripts_without_spaces_stay_so_and_are_cut_to_lines() -> None:
    text = "吾輩は猫である。名前はまだ無い。" * 8
    words = tuple(Word(char, index * 100, index * 100 + 100, 1.0) for index, char in enumerate(text))
    made = cues(transcript_of(Segment(text, 0, len(text) * 100, 1.0, words)))
    assert "".join(line for cue in made for line in cue.lines) == text
    whole = cues(transcript_of(Segment(text, 0, len(text) * 100, 1.0, (Word(text, 0, len(text) * 100, 1.0),))))
    assert "".join(line for cue in whole for line in cue.lines) == text
    assert all(len(line) <= MAX_LINE_CHARS for cue in made + whole for line in cue.lines)


def test_short_cues_are_lengthened_but_not_into_the_next() -> None:
    lonely, tight = spoken("Yes.", 0, 200), spoken("No.", 5000, 200)
    after = spoken("Maybe.", 5400, 200)
    assert [(cue.start_ms, cue.end_ms) for cue in cues(transcript_of(lonely, tight, after))] == [
        (0, 700),
        (5000, 5400),
        (5400, 6100),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_silence_is_a_valid_file(name: str) -> None:
    rendered = render(transcript_of(), name)
    match name:
        case "srt":
            assert list(srt.parse(rendered)) == []
        case "vtt":
            assert webvtt.from_buffer(io.StringIO(rendered)).captions == []
        case "json":
            assert json.loads(rendered)["segments"] == []
        case "textgrid" | "textgrid_aligned":
            assert all(not interval.label for tier in read_textgrid(rendered).tiers for interval in tier.entries)
        case "colored_text":
            assert read_page(rendered) == []
        case _:
            assert rendered == ""


def test_every_format_has_a_media_type() -> None:
    assert MEDIA_TYPES.keys() == FORMATS.keys()
    assert all("/" in media_type for media_type in MEDIA_TYPES.values())


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60)


@given(st.lists(WORDS, max_size=20), st.data())
def test_any_words_come_back(words: list[str], data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 3000), min_size=len(words), max_size=len(words)))
    timed, now = [], 0
    for word, length in zip(words, lengths, strict=True):
        timed.append(Word(word, now, now + length, 1.0))
        now += length
    made = cues(transcript_of(Segment(" ".join(words), 0, now, 1.0, tuple(timed))))
    assert "".join("".join(line.split()) for cue in made for line in cue.lines) == "".join(words)
    assert all(len(cue.lines) <= 2 and max(map(len, cue.lines)) <= MAX_LINE_CHARS for cue in made)
    assert all(cue.end_ms > cue.start_ms for cue in made)
