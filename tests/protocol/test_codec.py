from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_protocol import (
    ClientError,
    ErrorCode,
    Event,
    Init,
    Word,
    decode_audio,
    decode_event,
    decode_init,
    decode_message,
    encode_event,
    encode_message,
    stable_text,
)
from stream_protocol.events import (
    EVENT_TYPES,
    Error,
    FinalSegment,
    Flushed,
    Partial,
    Ready,
    RevisedSegment,
    SpeakersRevised,
    Warning,
    WarningCode,
)
from stream_protocol.messages import MESSAGE_TYPES, Configure, End, Flush, Frame, Keepalive
from stream_protocol.schema.example import EVENT_EXAMPLES, MESSAGE_EXAMPLES

Input = TypeVar("Input")
Output = TypeVar("Output")


def refusal(text: str | bytes, *, first: bool) -> ClientError:
    with pytest.raises(ClientError) as caught:
        decode_init(text) if first else decode_message(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", ErrorCode.INVALID_INIT, "not JSON"),
        ("END", ErrorCode.INVALID_INIT, "not JSON"),
        ("[]", ErrorCode.INVALID_INIT, "not a JSON object"),
        ('{"sample_rate": NaN}', ErrorCode.INVALID_INIT, "not JSON"),
        (b"\xff", ErrorCode.INVALID_INIT, "not JSON"),
        ("\ud800", ErrorCode.INVALID_INIT, "not JSON"),
        ('{"sample_rate": "16000"}', ErrorCode.INVALID_INIT, "'sample_rate'"),
        ('{"sample_rate": 16000.5}', ErrorCode.INVALID_INIT, "'sample_rate'"),
        ('{"channels": true}', ErrorCode.INVALID_INIT, "'channels'"),
        ('{"words": 1}', ErrorCode.INVALID_INIT, "'words'"),
        ('{"keyterms": ["a", 1]}', ErrorCode.INVALID_INIT, "'keyterms.1'"),
        ('{"type": "hello"}', ErrorCode.INVALID_INIT, "'init' or 'config'"),
        ('{"type": ["init"]}', ErrorCode.INVALID_INIT, "'type'"),
        ('{"type": "flush"}', ErrorCode.PROTOCOL_ERROR, "send init first"),
    ],
)
def test_a_wrong_init_is_refused_with_what_was_wrong(text: str | bytes, code: ErrorCode, said: str) -> None:
    error = refusal(text, first=True)
    assert error.code is code
    assert said in error.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("end", "END"),
        ("null", "not a JSON object"),
        ("{}", "frame, flush, keepalive, configure, end"),
        ('{"type": "init"}', "'init' is unknown"),
        ('{"type": {}}', "{} is unknown"),
        ('{"type": "flush", "id": 1.5}', "'id"),
        ('{"type": "frame"}', "'audio'"),
        ('{"type": "configure", "words": "no"}', "'words'"),
    ],
)
def test_a_wrong_message_is_refused_with_what_was_wrong(text: str, said: str) -> None:
    error = refusal(text, first=False)
    assert error.code is ErrorCode.PROTOCOL_ERROR
    assert said in error.message


def test_an_error_shows_no_more_than_a_little_of_what_was_sent() -> None:
    deep = "[" * 900 + "]" * 900
    wide = json.dumps(list(range(10_000)))
    long = json.dumps("x" * 1_000_000)
    for value in (deep, wide, long):
        assert len(refusal(f'{{"sample_rate": {value}}}', first=True).message) < 200
        assert len(refusal(f'{{"type": {value}}}', first=False).message) < 200


@pytest.mark.parametrize("text", ["END", b"END", '{"type":"end"}', '{"type":"end","id":4}'])
def test_the_end(text: str | bytes) -> None:
    assert isinstance(decode_message(text), End)


def test_messages_are_told_apart_by_type() -> None:
    assert isinstance(decode_message('{"type":"keepalive"}'), Keepalive)
    flush = decode_message('{"type":"flush","id":"a"}')
    assert isinstance(flush, Flush)
    assert flush.id == "a"
    configure = decode_message('{"type":"configure","silence_threshold_sec":99}')
    assert isinstance(configure, Configure)
    assert configure.silence_threshold_sec == 10
    assert configure.words is None


def test_audio_in_json() -> None:
    frame = decode_message('{"type":"frame","audio":"AAEC"}')
    assert isinstance(frame, Frame)
    assert decode_audio(frame) == b"\0\1\2"


@pytest.mark.parametrize("audio", ["***", "AAE", "AA\nEC", "é"])
def test_audio_that_is_not_base64(audio: str) -> None:
    with pytest.raises(ClientError, match="base64"):
        decode_audio(Frame(type="frame", audio=audio))


def test_a_message_is_encoded_with_what_was_set() -> None:
    assert json.loads(encode_message(Init(sample_rate=8000, model=None))) == {"type": "init", "sample_rate": 8000}
    assert json.loads(encode_message(End(type="end"))) == {"type": "end"}


@pytest.mark.parametrize("name", MESSAGE_EXAMPLES)
def test_messages_come_back_as_they_went(name: str) -> None:
    for example in MESSAGE_EXAMPLES[name]:
        decoded = decode_init(json.dumps(example)) if name == "Init" else decode_message(json.dumps(example))
        assert type(decoded).__name__ == name
        assert json.loads(encode_message(decoded)) == example


# Anything that may stand in a text frame: noise, JSON, and JSON that is nearly a message. Lone surrogates included.
text = st.text(alphabet=st.characters(), max_size=50)
number = st.integers() | st.floats() | st.integers(2**63 - 2, 2**64 + 2) | st.just(10**400)
scalar = st.none() | st.booleans() | number | text
tree = st.recursive(
    scalar, lambda item: st.lists(item, max_size=4) | st.dictionaries(text, item, max_size=4), max_leaves=12
)
nested = st.integers(1, 3000).map(lambda depth: "[" * depth + "]" * depth)
names = st.sampled_from([*Init.model_fields, "audio", "id", "model_config", "__class__"])
kinds = st.sampled_from([*MESSAGE_TYPES, "init", "config"])
with_kind = st.fixed_dictionaries({}, optional={"type": kinds})
nearly = st.builds(lambda rest, kind: rest | kind, st.dictionaries(names, tree, max_size=5), with_kind)
frames = (
    text
    | st.binary(max_size=50)
    | tree.map(json.dumps)
    | nearly.map(json.dumps)
    | nearly.map(lambda value: json.dumps(value, ensure_ascii=False))
    | nested
    | st.builds(lambda name, value: f'{{"{name}":{value}}}', names, nested)
    | st.builds(lambda kind, name, value: f'{{"type":"{kind}","{name}":{value}}}', kinds, names, nested)
)


def attempt(decode: Callable[[Input], Output], value: Input) -> Output | ClientError:
    try:
        return decode(value)
    except ClientError as error:
        return error


@settings(deadline=None)
@given(frames)
def test_whatever_comes_is_a_message_or_a_client_error(frame: str | bytes) -> None:
    for decode in (decode_init, decode_message):
        match attempt(decode, frame):
            case ClientError() as error:
                assert len(encode_event(Error(error.code, error.message))) < 1500  # it can be said, and shortly
            case message:
                assert len(message.ignored) <= 100


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=50))
def test_whatever_audio_in_json_holds_is_bytes_or_a_client_error(audio: str) -> None:
    frame = Frame(type="frame", audio=audio.encode(errors="replace").decode())
    assert isinstance(attempt(decode_audio, frame), bytes | ClientError)


said = st.text(max_size=50)  # without lone surrogates: they are no text
times = st.integers(0, 2**53)
words = st.lists(st.builds(Word, said, times, times, st.floats(0, 1), st.none() | said), max_size=4).map(tuple)
revised = st.builds(RevisedSegment, times, said, st.none() | st.lists(said, max_size=4).map(tuple))
config = st.dictionaries(said, st.booleans() | times | said | st.lists(said, max_size=3), max_size=4)
seconds = st.floats(0, 1e9)


def events(kind: type[Event]) -> st.SearchStrategy[Event]:
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "int": times,
        "str": said,
        "bool": st.booleans(),
        "float": seconds,
        "float | None": st.none() | seconds,
        "str | None": st.none() | said,
        "int | str | None": st.none() | st.integers(-(2**53), 2**53) | said,
        "dict[str, Any]": config,
        "tuple[str, ...]": st.lists(said, max_size=4).map(tuple),
        "tuple[Word, ...] | None": st.none() | words,
        "tuple[RevisedSegment, ...]": st.lists(revised, max_size=4).map(tuple),
        "Literal[False]": st.just(False),
        "Literal[True]": st.just(True),
        "ErrorCode": st.sampled_from(ErrorCode),
        "WarningCode": st.sampled_from(WarningCode),
    }
    return st.builds(kind, **{item.name: by_type[str(item.type)] for item in fields(kind)})


def values(data: Any) -> list[Any]:
    """Everything in it that is no list and no object."""
    match data:
        case dict():
            return [value for held in data.values() for value in values(held)]
        case list():
            return [value for held in data for value in values(held)]
    return [data]


@settings(deadline=None)
@given(st.one_of([events(kind) for kind in EVENT_TYPES.values()]))
def test_events_come_back_as_they_went(event: Event) -> None:
    encoded = encode_event(event)
    assert decode_event(encoded) == event
    data = json.loads(encoded)
    assert data["type"] == event.type
    assert None not in values(data), "what has no value is left out, at any depth"


@pytest.mark.parametrize("name", EVENT_EXAMPLES)
def test_codes_and_lists_come_back_with_their_types(name: str) -> None:
    for example in EVENT_EXAMPLES[name]:
        event = decode_event(json.dumps(example))
        match event:
            case Error():
                assert isinstance(event.code, ErrorCode)
            case Warning():
                assert isinstance(event.code, WarningCode)
            case Ready():
                assert isinstance(event.ignored, tuple)
            case FinalSegment():
                assert event.words is not None
                assert all(isinstance(word, Word) for word in event.words)
            case SpeakersRevised():
                assert all(isinstance(segment, RevisedSegment) for segment in event.segments)
                assert all(isinstance(segment.words, tuple) for segment in event.segments)
        assert type(event).__name__ == name


def test_what_a_newer_server_adds_is_left_out() -> None:
    assert decode_event('{"type":"mood","seq":1}') is None
    assert decode_event('{"type":"flushed","seq":1,"id":2,"mood":"good"}') == Flushed(seq=1, id=2)
    event = decode_event('{"type":"error","code":"OUT_OF_TEA","message":"sorry"}')
    assert isinstance(event, Error)
    assert event.code == "OUT_OF_TEA"
    final = EVENT_EXAMPLES["FinalSegment"][0] | {
        "words": [{"word": "a", "start_ms": 0, "end_ms": 1, "confidence": 1, "x": 2}]
    }
    decoded = decode_event(json.dumps(final))
    assert isinstance(decoded, FinalSegment)
    assert decoded.words == (Word("a", 0, 1, 1),)


@pytest.mark.parametrize(
    "text",
    ["[]", "1", '{"type":[]}', '{"type":"done","seq":1}', '{"type":"error","code":[],"words":5}'],
)
def test_what_is_no_event_is_none(text: str) -> None:
    assert decode_event(text) is None


def test_words_that_are_no_words_are_no_event() -> None:
    for words in (["a"], [{"word": "a"}], 5):
        assert decode_event(json.dumps(EVENT_EXAMPLES["FinalSegment"][0] | {"words": words})) is None


def test_what_is_not_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="unexpected"):
        decode_event("<html>")


def test_stable_text_counts_code_points() -> None:
    partial = decode_event(json.dumps(EVENT_EXAMPLES["Partial"][0] | {"text": "👋🏽 hallo", "stable_chars": 2}))
    assert isinstance(partial, Partial)
    assert stable_text(partial) == "👋🏽"
