"""JSON for programs: everything that is known. Times are seconds, as in all file formats."""

from __future__ import annotations

from typing import Any

import orjson

from stream_protocol import Segment, Transcript


def render_json(transcript: Transcript) -> str:
    """An object with ``text``, ``language``, ``duration`` and ``segments``, indented, ended by a newline."""
    document = {
        "text": transcript.text,
        "language": transcript.language,
        "duration": transcript.duration_ms / 1000,
        "segments": [_segment(segment) for segment in transcript.segments],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
        "confidence": segment.confidence,
        "speaker": segment.speaker,
        "channel": segment.channel,
        "words": [
            {
                "word": word.word,
                "start": word.start_ms / 1000,
                "end": word.end_ms / 1000,
                "confidence": word.confidence,
            }
            for word in segment.words
        ],
    }
