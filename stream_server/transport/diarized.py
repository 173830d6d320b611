"""Segments that say who speaks, as OpenAI has them in ``diarized_json`` and in the events of a stream.

It knows neither parameters nor jobs. Times are seconds.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import BaseModel

from stream_protocol.transcript import Segment, Transcript
from stream_server.transport.usage import Usage, usage_of

_LABEL: Final = re.compile(r"SPEAKER_(\d+)")
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class DiarizedSegment(BaseModel):
    """What one speaker says.

    ``speaker``: `A`, `B`, ... in order of first speech. Where names were asked for, a letter may be one of them, so it
    is a name then, or `SPEAKER_00` and so on.
    """

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str
    start: float
    end: float
    text: str
    speaker: str


class DiarizedTranscription(BaseModel):
    """The answer to ``response_format=diarized_json``."""

    task: Literal["transcribe"] = "transcribe"
    duration: float
    text: str
    segments: list[DiarizedSegment]
    usage: Usage


def diarized(transcript: Transcript, *, named: bool) -> DiarizedTranscription:
    """The whole transcript. ``named``: names were asked for."""
    return DiarizedTranscription(
        duration=transcript.duration_ms / 1000,
        text=transcript.text,
        segments=[diarized_segment(at, segment, named=named) for at, segment in enumerate(transcript.segments)],
        usage=usage_of(transcript),
    )


def diarized_segment(number: int, segment: Segment, *, named: bool) -> DiarizedSegment:
    """One segment; ``number`` counts from 0."""
    return DiarizedSegment(
        id=str(number),
        start=segment.start_ms / 1000,
        end=segment.end_ms / 1000,
        text=segment.text,
        speaker=(segment.speaker or "") if named else lettered(segment.speaker or ""),
    )


def lettered(speaker: str) -> str:
    """OpenAI's word for ``SPEAKER_00``, ``SPEAKER_01``, ...: A to Z, then AA and so on. Anything else stays."""
    label = _LABEL.fullmatch(speaker)
    if label is None:
        return speaker
    letters, number = "", int(label[1]) + 1
    while number:
        number, place = divmod(number - 1, len(_LETTERS))
        letters = _LETTERS[place] + letters
    return letters
