"""What a job has produced: the transcript, its translations, and what was found out about it. As JSON in the store."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from stream_protocol.transcript import Segment, Transcript, Turn, Word


@dataclass(frozen=True, slots=True)
class Findings:
    """Answers of the text services; None for what was not asked for.

    ``sentiment``: ``label`` (positive, neutral, negative), ``score`` from -1 to 1, ``explanation``. ``intent``:
    ``label``, ``confidence`` from 0 to 1, ``reasoning``.
    """

    summary: str | None = None
    sentiment: dict[str, Any] | None = None
    intent: dict[str, Any] | None = None
    normalized_text: str | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """``translations``: by language code, the segments of the transcript one for one, without words."""

    transcript: Transcript
    translations: dict[str, Transcript] = field(default_factory=dict)
    findings: Findings = Findings()


def encode_result(result: JobResult) -> bytes:
    return _encode(result)


def decode_result(document: bytes) -> JobResult:
    values = orjson.loads(document)
    return JobResult(
        _transcript(values["transcript"]),
        {language: _transcript(value) for language, value in values["translations"].items()},
        Findings(**values["findings"]),
    )


def encode_segment(segment: Segment) -> bytes:
    return _encode(segment)


def decode_segment(document: bytes) -> Segment:
    return _segment(orjson.loads(document))


def _encode(value: JobResult | Segment) -> bytes:
    return orjson.dumps(value, _values, orjson.OPT_PASSTHROUGH_DATACLASS)


def _values(item: Any) -> dict[str, Any]:
    """The fields of a dataclass. A word without a speaker has none: there are many words, and most have no speaker."""
    values = {each.name: getattr(item, each.name) for each in fields(item)}
    if isinstance(item, Word) and item.speaker is None:
        del values["speaker"]
    return values


def _transcript(values: dict[str, Any]) -> Transcript:
    segments = tuple(_segment(segment) for segment in values["segments"])
    turns = tuple(Turn(**turn) for turn in values.get("turns", ()))  # results of earlier versions have none
    return Transcript(segments, values["language"], values["duration_ms"], turns)


def _segment(values: dict[str, Any]) -> Segment:
    return Segment(**(values | {"words": tuple(Word(**word) for word in values["words"])}))
