"""Speakers in the answers of the OpenAI-like surface, in all formats that have a place for them."""

from __future__ import annotations

from typing import Any

import pytest
import srt
import webvtt

from stream_protocol.transcript import Segment, Transcript, Word
from stream_server.jobs.job import Job, KnownVoice, Source, TranscriptionOptions, new_job
from stream_server.jobs.result import JobResult
from stream_server.transport.answer import Output, VerboseTranscription, result_body
from stream_server.transport.diarized import DiarizedTranscription, diarized_segment, lettered

types = pytest.importorskip("openai.types.audio", reason="pip install openai")

JOB = new_job("key", Source(object="a"), TranscriptionOptions(diarize=True), "openai", "request")


def said(text: str, start_ms: int, speaker: str | None) -> Segment:
    words = tuple(
        Word(word, start_ms + 500 * at, start_ms + 500 * at + 400, 0.9, speaker) for at, word in enumerate(text.split())
    )
    return Segment(text, start_ms, words[-1].end_ms, 0.9, words, speaker)


TALK = Transcript(
    (
        said("Where is he?", 0, "SPEAKER_00"),
        said("Who?", 2000, "SPEAKER_01"),
        said("Godot.", 3000, "SPEAKER_00"),
        said("Ah.", 4000, "Lucky"),
    ),
    "en",
    5000,
)
SILENCE = Transcript((), "en", 5000)


def answer(transcript: Transcript, output: Output, job: Job = JOB) -> Any:
    return result_body(job, JobResult(transcript), output)


def test_diarized_json_is_what_openai_s_client_reads() -> None:
    body = answer(TALK, Output.DIARIZED)
    assert isinstance(body, DiarizedTranscription)
    read = types.TranscriptionDiarized.model_validate(body.model_dump(), strict=True)
    assert not read.model_extra
    assert not any(segment.model_extra for segment in read.segments)
    assert read.usage is not None
    assert (read.task, read.duration, read.text) == ("transcribe", 5.0, TALK.text)
    assert (read.usage.type, read.usage.seconds) == ("duration", 5.0)
    assert [(segment.id, segment.speaker, segment.text) for segment in read.segments] == [
        ("0", "A", "Where is he?"),
        ("1", "B", "Who?"),
        ("2", "A", "Godot."),
        ("3", "Lucky", "Ah."),
    ]
    assert [(segment.start, segment.end) for segment in read.segments] == [(0, 1.4), (2, 2.4), (3, 3.4), (4, 4.4)]
    assert {segment.type for segment in read.segments} == {"transcript.text.segment"}


def test_an_event_is_what_openai_s_client_reads() -> None:
    event = diarized_segment(7, TALK.segments[1], named=False).model_dump()
    read = types.TranscriptionTextSegmentEvent.model_validate(event, strict=True)
    assert (read.id, read.speaker, read.text, read.model_extra) == ("7", "B", "Who?", {})


def test_where_nobody_speaks() -> None:
    assert answer(SILENCE, Output.DIARIZED).segments == []
    assert answer(SILENCE, Output.VERBOSE).speakers == []


def test_a_segment_that_is_nobody_s_has_a_speaker_all_the_same() -> None:
    """OpenAI's clients take it for text."""
    assert diarized_segment(0, said("Ah.", 0, None), named=False).speaker == ""
    assert diarized_segment(0, said("Ah.", 0, None), named=True).speaker == ""


@pytest.mark.parametrize(
    "wanted",
    [
        {"identify_speakers": True},
        {"known_voices": (KnownVoice(name="B", embedder="tone", vector=""),)},
    ],
)
def test_a_letter_may_be_a_name(wanted: dict[str, Any]) -> None:
    """Then it is nobody's label."""
    job = new_job("key", Source(object="a"), TranscriptionOptions(diarize=True, **wanted), "openai", "request")
    talk = Transcript((said("Ah.", 0, "B"), said("Who?", 2000, "SPEAKER_01")), "en", 5000)
    assert [segment.speaker for segment in answer(talk, Output.DIARIZED, job).segments] == ["B", "SPEAKER_01"]


@pytest.mark.parametrize(
    ("label", "letters"),
    [
        ("SPEAKER_00", "A"),
        ("SPEAKER_25", "Z"),
        ("SPEAKER_26", "AA"),
        ("SPEAKER_99", "CV"),
        ("SPEAKER_701", "ZZ"),
        ("SPEAKER_702", "AAA"),
        ("Priya", "Priya"),
        ("SPEAKER_", "SPEAKER_"),
        ("the SPEAKER_00", "the SPEAKER_00"),
        ("", ""),
    ],
)
def test_letters(label: str, letters: str) -> None:
    assert lettered(label) == letters


def test_the_full_answer_says_who_says_each_word() -> None:
    body = answer(TALK, Output.VERBOSE_WORDS)
    assert isinstance(body, VerboseTranscription)
    full = body.model_dump()
    assert full["speakers"] == ["SPEAKER_00", "SPEAKER_01", "Lucky"]
    assert [segment["speaker"] for segment in full["segments"]] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00", "Lucky"]
    assert [(word["word"], word["speaker"]) for word in full["words"]] == [
        ("Where", "SPEAKER_00"),
        ("is", "SPEAKER_00"),
        ("he?", "SPEAKER_00"),
        ("Who?", "SPEAKER_01"),
        ("Godot.", "SPEAKER_00"),
        ("Ah.", "Lucky"),
    ]


def test_a_word_has_no_speaker_where_they_were_not_told_apart() -> None:
    full = answer(Transcript((said("Ah.", 0, None),), "en", 1000), Output.VERBOSE_WORDS).model_dump()
    assert [set(word) for word in full["words"]] == [{"word", "start", "end", "score"}]


def test_subtitles_name_who_begins_to_speak() -> None:
    cues = [cue.content for cue in srt.parse(answer(TALK, Output.SRT))]
    assert cues == ["SPEAKER_00: Where is he?", "SPEAKER_01: Who?", "SPEAKER_00: Godot.", "Lucky: Ah."]
    assert [cue.voice for cue in webvtt.from_string(answer(TALK, Output.VTT)).captions] == [
        "SPEAKER_00",
        "SPEAKER_01",
        "SPEAKER_00",
        "Lucky",
    ]
