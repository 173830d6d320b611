"""Whatever is said, every format stays one that others can read, and keeps what was said."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace

import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from stream_protocol import Transcript
from stream_server.formats import FORMATS, render
from stream_server.formats.line import one_line
from tests.formats.nasty import transcripts
from tests.formats.reading import read_page, read_textgrid


def said(transcript: Transcript) -> list[str]:
    """The words of each segment that has any, without spaces."""
    texts = ("".join(one_line(segment.text).split()) for segment in transcript.segments)
    return [text for text in texts if text]


@given(transcripts(), st.sampled_from(sorted(FORMATS)))
def test_nothing_fails_and_no_control_character_gets_through(transcript: Transcript, name: str) -> None:
    rendered = render(transcript, name)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", rendered) or name == "json"
    rendered.encode()


def silent(transcript: Transcript) -> Transcript:
    """Without speakers, so that what was said is all that is written."""
    return replace(transcript, segments=tuple(replace(segment, speaker=None) for segment in transcript.segments))


@given(transcripts(), st.sampled_from((10, 42, 200)))
def test_srt(transcript: Transcript, max_line: int) -> None:
    for spoken in (transcript, silent(transcript)):
        cues = list(srt.parse(render(spoken, "srt", max_line=max_line)))
        assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
        assert all(cue.start < cue.end for cue in cues)
        assert all(len(line) <= max_line for cue in cues for line in cue.content.split("\n"))
        assert max((cue.content.count("\n") for cue in cues), default=0) <= 1
    # Overlapping segments are shown in turns, so that only the letters as a whole can be compared.
    assert sorted("".join("".join(cue.content.split()) for cue in cues)) == sorted("".join(said(transcript)))


@given(transcripts())
def test_vtt(transcript: Transcript) -> None:
    captions = webvtt.from_buffer(io.StringIO(render(transcript, "vtt"))).captions
    written = "".join(html.unescape(re.sub(r"<v [^>]*>", "", caption.raw_text)) for caption in captions)
    assert sorted("".join(written.split())) == sorted("".join(said(transcript)))
    voices = {one_line(segment.speaker or "") for segment in transcript.segments}
    assert {html.unescape(caption.voice) for caption in captions if caption.voice} <= voices


@given(transcripts(), st.booleans())
def test_textgrid(transcript: Transcript, aligned: bool) -> None:
    grid = read_textgrid(render(transcript, "textgrid_aligned" if aligned else "textgrid"))
    assert grid.minTimestamp == 0
    assert grid.maxTimestamp >= transcript.duration_ms / 1000
    for tier in grid.tiers:
        reached = 0.0
        for interval in tier.entries:
            assert interval.start == reached < interval.end
            reached = interval.end
        assert reached == grid.maxTimestamp
    segments = [
        "".join(interval.label.split())
        for tier in grid.tiers
        if not tier.name.endswith(" - words")
        for interval in tier.entries
        if interval.label
    ]
    assert sorted(segments) == sorted(said(transcript))


@given(transcripts())
def test_colored_text(transcript: Transcript) -> None:
    paragraphs = read_page(render(transcript, "colored_text"))
    assert ["".join(text.split()) for _, _, text in paragraphs] == said(transcript)


@given(transcripts())
def test_maxqda(transcript: Transcript) -> None:
    paragraphs = [line for line in render(silent(transcript), "maxqda").split("\n") if line]
    matches = [re.fullmatch(r"#(\d\d):([0-5]\d):([0-5]\d)-(\d)#(.+)", line) for line in paragraphs]
    assert ["".join(match[5].split()) for match in matches if match] == said(transcript)


@given(transcripts())
def test_txt_and_json(transcript: Transcript) -> None:
    assert ["".join(line.split()) for line in render(silent(transcript), "txt").splitlines()] == said(transcript)
    assert json.loads(render(transcript, "json"))["text"] == transcript.text


@given(transcripts())
def test_rttm(transcript: Transcript) -> None:
    lines = render(transcript, "rttm").splitlines(keepends=True)
    turns = [turn for turn in transcript.turns if turn.start_ms < turn.end_ms]
    assert len(lines) == len(turns)
    for line, turn in zip(lines, sorted(turns), strict=True):
        fields = re.fullmatch(r"SPEAKER recording 1 (\d+\.\d{3}) (\d+\.\d{3}) <NA> <NA> (\S+) <NA> <NA>\n", line)
        assert fields is not None
        assert round(1000 * float(fields[1])) == turn.start_ms
        assert round(1000 * (float(fields[1]) + float(fields[2]))) == turn.end_ms
        assert fields[3].replace("_", "") == "".join(one_line(turn.speaker).split()).replace("_", "")
