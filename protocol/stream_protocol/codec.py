"""Text frames to messages and events, and back. It knows JSON and nothing of sockets or sessions."""

from __future__ import annotations

import base64
import binascii
import reprlib
from dataclasses import fields, replace
from typing import Any

import orjson
from pydantic import ValidationError

from stream_protocol.errors import ClientError, ErrorCode
from stream_protocol.events import EVENT_TYPES, Event, Partial, RevisedSegment, WarningCode
from stream_protocol.messages import MESSAGE_TYPES, Configure, End, Flush, Frame, Init, Keepalive, Message
from stream_protocol.transcript import Word

END_TEXT = "END"

# Values a caller sent are shown shortened: a message must stay readable, and deep nesting must not exhaust the stack.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = 60


def decode_init(text: str | bytes) -> Init:
    """Decode the first frame.

    Raises:
        ClientError: ``INVALID_INIT``, naming the field; ``PROTOCOL_ERROR`` where it is another message.
    """
    data = _decode_object(text, ErrorCode.INVALID_INIT, "the first frame must be the init message")
    kind = data.get("type", "init")
    if isinstance(kind, str) and kind in MESSAGE_TYPES:
        raise ClientError(ErrorCode.PROTOCOL_ERROR, f"{kind!r} came before the init message; send init first")
    try:
        return Init.model_validate(data)
    except ValidationError as error:
        raise ClientError(ErrorCode.INVALID_INIT, _explain(error)) from None


def decode_message(text: str | bytes) -> Frame | Flush | Keepalive | Configure | End:
    """Decode a text frame after init.

    Raises:
        ClientError: ``PROTOCOL_ERROR``, saying what was wrong and what is allowed.
    """
    if text in (END_TEXT, END_TEXT.encode()):
        return End(type="end")
    data = _decode_object(text, ErrorCode.PROTOCOL_ERROR, f"text frames are JSON objects or {END_TEXT}")
    kind = data.get("type")
    model = MESSAGE_TYPES.get(kind) if isinstance(kind, str) else None
    if model is None:
        allowed = ", ".join(MESSAGE_TYPES)
        raise ClientError(ErrorCode.PROTOCOL_ERROR, f"message type {_SHORT.repr(kind)} is unknown; allowed: {allowed}")
    try:
        return model.model_validate(data)  # type: ignore[return-value]
    except ValidationError as error:
        raise ClientError(ErrorCode.PROTOCOL_ERROR, f"{kind}: {_explain(error)}") from None


def decode_audio(frame: Frame) -> bytes:
    """The audio of a JSON frame.

    Raises:
        ClientError: ``PROTOCOL_ERROR`` where it is not base64.
    """
    try:
        return base64.b64decode(frame.audio, validate=True)
    except (binascii.Error, ValueError):
        raise ClientError(ErrorCode.PROTOCOL_ERROR, "frame: audio is not valid base64") from None


def encode_message(message: Message) -> str:
    """Encode a client's message; fields that were not set are left out."""
    data = message.model_dump(exclude_unset=True, exclude_none=True)
    return orjson.dumps({"type": message.type, **data}).decode()  # type: ignore[attr-defined]


def encode_event(event: Event) -> str:
    """Encode an event; fields without a value are left out."""
    data = {"type": event.type, **_present(event)}
    return orjson.dumps(data, default=_present, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()


def decode_event(text: str | bytes) -> Event | None:
    """Decode what a server sent.

    Fields, events and codes that this version does not know may come from a newer server: an unknown field is left
    out, an unknown code stays a plain string, and an unknown event, or one without a field it must have, is None.

    Raises:
        ValueError: where the text is not JSON, so the other end is no such server.
    """
    data = orjson.loads(text)
    kind = data.get("type") if isinstance(data, dict) else None
    event = EVENT_TYPES.get(kind) if isinstance(kind, str) else None
    if event is None:
        return None
    try:
        return event(**{name: _decode_field(event, name, value) for name, value in _known(event, data).items()})
    except (TypeError, AttributeError):
        return None


def stable_text(partial: Partial) -> str:
    """The part of a partial that will not change any more; ``stable_chars`` counts code points, as Python does."""
    return partial.text[: partial.stable_chars]


def _decode_object(text: str | bytes, code: ErrorCode, expectation: str) -> dict[str, Any]:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ClientError(code, f"not JSON; {expectation}") from None
    if not isinstance(data, dict):
        raise ClientError(code, f"not a JSON object; {expectation}")
    return data


def _present(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that have a value."""
    found = ((item.name, getattr(value, item.name)) for item in fields(value))
    return {name: held for name, held in found if held is not None}


def _known(kind: type, data: dict[str, Any]) -> dict[str, Any]:
    """The part of ``data`` that the dataclass ``kind`` has fields for."""
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in data.items() if key in names}


def _decode_field(event: type[Event], name: str, value: Any) -> Any:
    """One value as the event's dataclass holds it, from the value as JSON holds it."""
    if name == "words" and value is not None:
        return tuple(Word(**_known(Word, word)) for word in value)
    if name == "segments":
        return tuple(_decode_revised(segment) for segment in value)
    if name == "ignored":
        return tuple(value)
    if name == "code":
        codes = WarningCode if event.type == "warning" else ErrorCode
        return codes(value) if value in list(codes) else value
    return value


def _decode_revised(data: dict[str, Any]) -> RevisedSegment:
    revised = RevisedSegment(**_known(RevisedSegment, data))
    return revised if revised.words is None else replace(revised, words=tuple(revised.words))


def _explain(error: ValidationError) -> str:
    """One sentence of the first problem, naming the field and what it takes."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "message"
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return f"field {field!r}: {reason}, got {_SHORT.repr(first.get('input'))}"
