"""JSON for programs: everything that is known. Times are seconds, as in all file formats."""

from __future__ import annotations

from typing import Any

import orjson

from stream_protocol import Segment, Transcript, Turn, Word


def render_json(transcript: Transcript) -> str:
    """An object with ``text``, ``language``, ``duration`` and ``segments``, indented, ended by a newline.

    Where speakers were told apart, ``turns`` says who spoke when, and each word has a ``speaker`` as its segment has.
    """
    document: dict[str, Any] = {
        "text": transcript.text,
        "language": transcript.language,
        "duration": transcript.duration_ms / 1000,
        "segments": [_segment(segment) for segment in transcript.segments],
    }
    if transcript.turns:
        document["turns"] = [_turn(turn) for turn in transcript.turns]
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
        "confidence": segment.confidence,
        "speaker": segment.speaker,
        "channel": segment.channel,
        "words": [_word(word) for word in segment.words],
    }


def _word(word: Word) -> dict[str, Any]:
    values: dict[str, Any] = {
        "word": word.word,
        "start": word.start_ms / 1000,
        "end": word.end_ms / 1000,
        "confidence": word.confidence,
    }
    return values if word.speaker is None else values | {"speaker": word.speaker}


def _turn(turn: Turn) -> dict[str, Any]:
    return {"start": turn.start_ms / 1000, "end": turn.end_ms / 1000, "speaker": turn.speaker}
