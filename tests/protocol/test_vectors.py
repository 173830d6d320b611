"""The golden conversations are well formed, say nothing that the schemas forbid, and leave out no error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream_protocol import ERROR_TABLE, ClientError, ErrorCode, decode_init, decode_message
from stream_protocol.audio_format import DTYPES
from stream_protocol.events import EVENT_TYPES
from stream_protocol.messages import MESSAGE_TYPES, End, Message
from tests.protocol.matcher import match, resolve
from tests.protocol.stand_in import fill_event
from tests.protocol.vector import (
    VECTOR_FOLDER,
    Drain,
    Drop,
    ExpectClose,
    ExpectEvent,
    ExpectEvents,
    ExpectHttp,
    Resend,
    SendAudio,
    SendRaw,
    SendText,
    Step,
    Vector,
    Wait,
    load_vectors,
    parse_vector,
)

VECTORS = load_vectors()
SCHEMAS = VECTOR_FOLDER.parent / "schemas"

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)


def load_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return schema


def patterns(step: Step) -> list[dict[str, Any]]:
    if isinstance(step, ExpectEvent):
        return [step.event]
    return step.include if isinstance(step, ExpectEvents) else []


def walk(vector: Vector) -> Iterator[tuple[Step, dict[str, Any], list[dict[str, Any]]]]:
    """Every step, with what was saved before it and with events that match what it expects."""
    saved: dict[str, Any] = {}
    for step in vector.steps:
        events = []
        for pattern in patterns(step):
            event = fill_event(pattern, saved)
            saved |= match(pattern, event, saved)
            events.append(event)
        yield step, saved, events


def decode(text: str, first: bool) -> Message | ErrorCode:
    """The message, or the code with which the codec refuses it."""
    try:
        return decode_init(text) if first else decode_message(text)
    except ClientError as error:
        return error.code


def expected_errors(vector: Vector) -> dict[str, ErrorCode]:
    """Connection to the code of the error that it gets."""
    return {
        step.on: ErrorCode(pattern["code"])
        for step in vector.steps
        for pattern in patterns(step)
        if pattern["type"] == "error"
    }


@each_vector
def test_expected_events_are_possible(vector: Vector) -> None:
    schema = load_schema("event.json")
    validator = Draft202012Validator(schema)
    for step, _, events in walk(vector):
        for pattern, event in zip(patterns(step), events, strict=True):
            validator.validate(event)
            fields = schema["$defs"][EVENT_TYPES[event["type"]].__name__]["properties"]
            assert pattern.keys() <= fields.keys(), "the pattern asks for a field that the event does not have"
            if "config" in pattern:
                assert pattern["config"].keys() <= schema["$defs"]["Config"]["properties"].keys() | {"api_key"}


@each_vector
def test_messages_are_refused_only_where_the_conversation_says_so(vector: Vector) -> None:
    validator, errors = Draft202012Validator(load_schema("message.json")), expected_errors(vector)
    greeted: set[str] = set()
    ended: set[str] = set()
    for step, saved, _ in walk(vector):
        if not isinstance(step, SendText | SendRaw) or step.on in ended:
            continue
        text = step.raw if isinstance(step, SendRaw) else step.text
        if isinstance(text, dict):
            text = json.dumps(resolve(text, saved))
        message = decode(text, first=step.on not in greeted)
        if isinstance(message, ErrorCode):
            assert errors.get(step.on) is message
            continue
        greeted.add(step.on)
        if isinstance(message, End):
            ended.add(step.on)
        if text != "END":
            assert validator.is_valid(json.loads(text)) or errors.get(step.on) is ErrorCode.UNSUPPORTED_AUDIO


@each_vector
def test_every_connection_comes_to_its_end(vector: Vector) -> None:
    names = {step.on for step in vector.steps if not isinstance(step, Wait | Drain)}
    ends = {step.on for step in vector.steps if isinstance(step, ExpectClose | ExpectHttp | Drop)}
    errors = expected_errors(vector)
    assert ends == names
    for step in vector.steps:
        if isinstance(step, ExpectClose):
            assert step.close == (ERROR_TABLE[errors[step.on]].close_code if step.on in errors else 1000)


@each_vector
def test_resent_audio_was_sent_and_saved(vector: Vector) -> None:
    sent: set[str] = set()
    for step, saved, _ in walk(vector):
        if isinstance(step, SendAudio):
            sent.add(step.on)
        if isinstance(step, Resend):
            assert step.resend in sent
            assert isinstance(saved[step.start], int)


def test_every_error_code_is_shown() -> None:
    shown = {code for vector in VECTORS for code in expected_errors(vector).values()}
    statuses = {step.http for vector in VECTORS for step in vector.steps if isinstance(step, ExpectHttp)}
    assert statuses == {ERROR_TABLE[code].http_status for code in (ErrorCode.AUTH_FAILED, ErrorCode.CAPACITY_FULL)}
    assert shown | {ErrorCode.CAPACITY_FULL} == set(ErrorCode)


def test_every_event_and_message_and_dtype_is_shown() -> None:
    steps = [step for vector in VECTORS for step in vector.steps]
    assert {pattern["type"] for step in steps for pattern in patterns(step)} == set(EVENT_TYPES)
    texts = [step.text for step in steps if isinstance(step, SendText) and isinstance(step.text, dict)]
    assert {text.get("type") for text in texts} >= MESSAGE_TYPES.keys()
    assert any(step.audio.json_frames for step in steps if isinstance(step, SendAudio))
    assert {text.get("dtype") for text in texts} >= DTYPES.keys()


def test_files_end_in_one_newline_and_hold_no_empty_line() -> None:
    for path in VECTOR_FOLDER.glob("*.jsonl"):
        text = path.read_text(encoding="utf-8")
        assert text.endswith("}\n"), path
        assert "\n\n" not in text, path


HEAD = '{"description": "d", "rule": "r"}\n'


@pytest.mark.parametrize(
    "line",
    [
        '{"dir": "client", "text": "STOP"}',
        '{"dir": "client", "event": {"type": "ready"}}',
        '{"dir": "server", "event": {"type": "ready"}, "extra": 1}',
        '{"dir": "server", "events": "until"}',
        '{"dir": "client", "audio": {"kind": "speech"}}',
        '{"dir": "client", "audio": {"kind": "bytes", "seconds": 1}}',
        '{"dir": "client", "audio": {"kind": "bytes", "bytes_b64": "A"}}',
        '{"dir": "client", "audio": {"kind": "music", "seconds": 1}}',
        '{"dir": "client", "wait": 0}',
        "nonsense",
    ],
)
def test_parser_names_the_line_that_is_wrong(line: str) -> None:
    with pytest.raises(ValueError, match=r"^odd:2: "):
        parse_vector("odd", HEAD + line)


def test_parser_refuses_unknown_settings() -> None:
    with pytest.raises(ValueError, match=r"(?s)^odd:1: .*max_speed"):
        parse_vector("odd", '{"description": "d", "rule": "r", "settings": {"max_speed": 1}}')


def test_parser_reads_audio() -> None:
    vector = parse_vector("a", HEAD + '{"dir": "client", "audio": {"kind": ["speech", "silence"], "seconds": 2}}')
    (step,) = vector.steps
    assert isinstance(step, SendAudio)
    assert (step.audio.channels, step.audio.dtype, step.audio.sample_rate, step.on) == (2, "int16", 16000, "main")
