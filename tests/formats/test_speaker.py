"""A conversation, labelled as jobs label it, in every format: who says what is in each, whatever they are called."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import srt
import webvtt

from stream_protocol import Segment, Transcript, Turn, Word
from stream_server.formats import FORMATS, render
from stream_server.formats.lightning import lightning_result
from stream_server.speakers.labelling import label
from stream_server.speakers.turn import renamed
from tests.formats.reading import read_page, read_textgrid

TEXT = "How are you? Fine, thanks. And you? Good."
TIMES = ((0, 300), (300, 500), (500, 900), (800, 1300), (1300, 1800), (1800, 2000), (2000, 2400), (2300, 2900))
TURNS = (Turn(0, 1000, "SPEAKER_00"), Turn(800, 2450, "SPEAKER_01"), Turn(2300, 3000, "SPEAKER_00"))
NAMES = {"SPEAKER_00": "Ann: <A>\nLee", "SPEAKER_01": 'Bo "B" & Co'}
SAID = ["How are you?", "Fine, thanks. And you?", "Good."]


@pytest.fixture(scope="module")
def talk() -> Transcript:
    """Two people who begin before the other has ended, understood as one segment."""
    words = tuple(Word(word, *time, 0.9) for word, time in zip(TEXT.split(), TIMES, strict=True))
    heard = Transcript((Segment(TEXT, 0, 3000, 0.9, words),), "en", 3000)
    return label(heard, renamed(TURNS, NAMES))


def test_the_segment_is_cut_to_three(talk: Transcript) -> None:
    assert [segment.text for segment in talk.segments] == SAID


def test_plain_formats_name_who_speaks(talk: Transcript) -> None:
    ann, bo = "Ann: <A> Lee", 'Bo "B" & Co'
    assert render(talk, "txt").splitlines() == [f"{ann}: {SAID[0]}", f"{bo}: {SAID[1]}", f"{ann}: {SAID[2]}"]
    assert [line[12:] for line in render(talk, "maxqda").splitlines()[::2]] == [
        f"Ann <A> Lee: {SAID[0]}",
        f"{bo}: {SAID[1]}",
        f"Ann <A> Lee: {SAID[2]}",
    ]
    assert [(name, text.strip()) for _, name, text in read_page(render(talk, "colored_text"))] == [
        (f"{ann}:", SAID[0]),
        (f"{bo}:", SAID[1]),
        (f"{ann}:", SAID[2]),
    ]


def test_subtitles_name_who_speaks(talk: Transcript) -> None:
    shown = [" ".join(cue.content.split()) for cue in srt.parse(render(talk, "srt"))]
    assert shown == [f"Ann: <A> Lee: {SAID[0]}", f'Bo "B" & Co: {SAID[1]}', f"Ann: <A> Lee: {SAID[2]}"]
    captions = webvtt.from_buffer(io.StringIO(render(talk, "vtt"))).captions
    assert [caption.voice for caption in captions] == ["Ann: &lt;A&gt; Lee", 'Bo "B" &amp; Co', "Ann: &lt;A&gt; Lee"]


def test_pieces_that_overlap_are_on_tiers_of_their_own(talk: Transcript) -> None:
    grid = read_textgrid(render(talk, "textgrid_aligned"))
    assert list(grid.tierNames) == ["Ann: <A> Lee", "Ann: <A> Lee - words", 'Bo "B" & Co', 'Bo "B" & Co - words']
    spoken = {name: [row for row in grid.getTier(name).entries if row.label] for name in grid.tierNames}
    assert [(row.start, row.end) for row in spoken["Ann: <A> Lee"]] == [(0.0, 0.9), (2.3, 3.0)]
    assert [(row.start, row.end) for row in spoken['Bo "B" & Co']] == [(0.8, 2.4)]
    assert [row.label for row in spoken['Bo "B" & Co - words']] == SAID[1].split()


def test_documents_say_who_speaks(talk: Transcript) -> None:
    document = json.loads(render(talk, "json"))
    assert [(segment["speaker"], segment["text"]) for segment in document["segments"]] == [
        (NAMES["SPEAKER_00"], SAID[0]),
        (NAMES["SPEAKER_01"], SAID[1]),
        (NAMES["SPEAKER_00"], SAID[2]),
    ]
    assert all(word["speaker"] == part["speaker"] for part in document["segments"] for word in part["words"])
    assert [(turn["start"], turn["end"]) for turn in document["turns"]] == [(0, 1), (0.8, 2.45), (2.3, 3)]
    result = lightning_result(talk, timestamps=True, split_punctuation=False, request_id="r")
    assert [(turn["speaker"], turn["text"]) for turn in result["speakers"]] == [
        (NAMES["SPEAKER_00"], SAID[0]),
        (NAMES["SPEAKER_01"], SAID[1]),
        (NAMES["SPEAKER_00"], SAID[2]),
    ]


def test_rttm_has_the_turns_with_their_overlap(talk: Transcript) -> None:
    assert render(talk, "rttm") == (
        "SPEAKER recording 1 0.000 1.000 <NA> <NA> Ann:_<A>_Lee <NA> <NA>\n"
        'SPEAKER recording 1 0.800 1.650 <NA> <NA> Bo_"B"_&_Co <NA> <NA>\n'
        "SPEAKER recording 1 2.300 0.700 <NA> <NA> Ann:_<A>_Lee <NA> <NA>\n"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_without_speakers_no_format_says_any(talk: Transcript, name: str) -> None:
    nobody = (
        replace(segment, speaker=None, words=tuple(replace(word, speaker=None) for word in segment.words))
        for segment in talk.segments
    )
    rendered = render(replace(talk, segments=tuple(nobody), turns=()), name)
    assert "Ann" not in rendered
    assert "SPEAKER" not in rendered
