"""The watch over the promises lets right sessions pass and stops at every kind of broken one."""

from __future__ import annotations

from typing import Any

import pytest

from stream_protocol.schema.example import EVENT_EXAMPLES
from tests.protocol.promise import PromiseWatch

READY = {"type": "ready"}


def start(segment: int, channel: int = 0) -> dict[str, Any]:
    return {"type": "speech_start", "segment_id": segment, "channel": channel}


def partial(segment: int, text: str, stable: int, channel: int = 0) -> dict[str, Any]:
    return {"type": "partial", "segment_id": segment, "text": text, "stable_chars": stable, "channel": channel}


def stop(segment: int, channel: int = 0) -> dict[str, Any]:
    return {"type": "speech_end", "segment_id": segment, "channel": channel}


def final(segment: int, text: str, channel: int = 0, offset: int = 0) -> dict[str, Any]:
    return {
        "type": "final_segment",
        "segment_id": segment,
        "text": text,
        "channel": channel,
        "offset_ms": offset,
        "confidence": 0.5 if text else 0,
    }


def said_by(segment: int, *speakers: str) -> dict[str, Any]:
    """A final of one channel whose first speaker says most."""
    words = [{"word": "a", "speaker": speaker} for speaker in speakers]
    return {**final(segment, " ".join("a" for _ in words)), "speaker": speakers[0], "words": words}


def revised(*segments: tuple[int, str, list[str]]) -> dict[str, Any]:
    made = [{"segment_id": number, "speaker": speaker, "words": words} for number, speaker, words in segments]
    return {"type": "speakers_revised", "segments": made}


def end(text: str) -> dict[str, Any]:
    return {"type": "end_of_transcript", "text": text}


def done(segments: int) -> dict[str, Any]:
    return {"type": "done", "total_segments": segments}


def watch(*events: dict[str, Any]) -> PromiseWatch:
    watch = PromiseWatch()
    for event in events:
        numbered = event["type"] not in {"ready", "ack", "warning", "error"}
        watch.receive({**event, "seq": watch.seq + 1} if numbered else event)
    return watch


def test_the_published_examples_are_a_right_session() -> None:
    watch = PromiseWatch()
    for example in (examples[0] for name, examples in EVENT_EXAMPLES.items() if name != "Error"):
        watch.receive(example)
    assert watch.ended


def test_a_session_of_two_channels() -> None:
    session = watch(
        READY,
        start(0),
        start(1, channel=1),
        partial(0, "a", 0),
        stop(1, channel=1),
        final(1, "b", channel=1, offset=7),
        {"type": "warning"},
        partial(0, "a c", 1),
        stop(0),
        final(0, "a d", offset=5),
        end("a d b"),
        done(2),
    )
    assert session.transcript == "a d b"


def test_speech_may_start_again_before_the_final() -> None:
    first = [start(0), start(1), stop(0), final(0, "a")]
    watch(READY, *first, partial(1, "b", 1), stop(1), final(1, "b"), end("a b"), done(2))


def test_a_final_may_be_empty() -> None:
    watch(READY, start(0), partial(0, "b", 0), stop(0), final(0, ""), end(""), done(1))


def test_speakers_may_be_revised() -> None:
    session = watch(
        *(READY, start(0), stop(0), said_by(0, "A", "B"), start(1), stop(1), said_by(1, "A")),
        revised((0, "A", ["A", "A"])),
        revised((0, "B", ["B", "A"]), (1, "B", ["B"])),
    )
    assert session.speakers == {0: ("B", ["B", "A"]), 1: ("B", ["B"])}


def test_a_session_goes_on_after_a_break() -> None:
    session = watch(READY, start(0))
    session.connect()
    session.receive(READY)
    session.receive({**stop(0), "seq": 2})


TOLD = [READY, start(0), stop(0), said_by(0, "A", "B")]
BROKEN = {
    "no ready": [start(0)],
    "ready twice": [READY, READY],
    "after the last": [READY, end(""), done(0), start(0)],
    "after an error": [READY, {"type": "error"}, start(0)],
    "segment skipped": [READY, start(1)],
    "partial before start": [READY, partial(0, "a", 0)],
    "partial after end": [READY, start(0), stop(0), partial(0, "a", 0)],
    "partial of the next too early": [READY, start(0), stop(0), start(1), partial(1, "a", 0)],
    "final before end": [READY, start(0), final(0, "a")],
    "finals out of order": [READY, start(0), stop(0), start(1), stop(1), final(1, "a")],
    "final twice": [READY, start(0), stop(0), final(0, "a"), final(0, "a")],
    "end twice": [READY, start(0), stop(0), stop(0)],
    "no final": [READY, start(0), stop(0), end("")],
    "stable text changed": [READY, start(0), partial(0, "ab", 2), partial(0, "ac", 0)],
    "final forgets stable text": [READY, start(0), partial(0, "ab", 2), stop(0), final(0, "ac")],
    "more stable than there is": [READY, start(0), partial(0, "ab", 3)],
    "another channel": [READY, start(0), stop(0, channel=1)],
    "wrong transcript": [READY, start(0), stop(0), final(0, "a"), end("b")],
    "wrong number": [READY, end(""), done(1)],
    "a word without speaker": [READY, start(0), stop(0), said_by(0, "A", "")],
    "somebody says nothing": [READY, start(0), stop(0), {**final(0, ""), "speaker": "A"}],
    "revised before it is told": [*TOLD, start(1), stop(1), revised((1, "A", []))],
    "revised, and the same": [*TOLD, revised((0, "A", ["A", "B"]))],
    "revised in another number of words": [*TOLD, revised((0, "A", ["A"]))],
    "revised twice at once": [*TOLD, revised((0, "A", ["A", "A"]), (0, "A", ["A", "B"]))],
    "revised without a segment": [*TOLD, revised()],
    "revised where no speakers are told": [READY, start(0), stop(0), final(0, "a"), revised((0, "A", []))],
    "sure of nothing": [READY, start(0), stop(0), {**final(0, ""), "confidence": 0.5}],
}


@pytest.mark.parametrize("events", BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_seen(events: list[dict[str, Any]]) -> None:
    *right, wrong = events
    session = watch(*right)
    with pytest.raises(AssertionError):
        session.receive({**wrong, "seq": session.seq + 1})


def test_a_gap_in_seq_is_seen() -> None:
    session = watch(READY, start(0))
    with pytest.raises(AssertionError, match="seq 3 came where 2 was due"):
        session.receive({**stop(0), "seq": 3})
