"""The AsyncAPI 3.0 document of ``/ws``, from the server's point of view: it *receives* messages and *sends* events."""

from __future__ import annotations

import json
import re
from typing import Any

from stream_protocol.codec import END_TEXT
from stream_protocol.errors import ERROR_TABLE
from stream_protocol.events import EVENT_TYPES
from stream_protocol.messages import MESSAGE_TYPES, PROTOCOL_VERSION, Init
from stream_protocol.schema.definition import Definition, event_definitions, message_definitions

_SCHEMA_REF = "#/components/schemas/{model}"
_PLAIN = re.compile(r"[A-Za-z_$][\w$./-]*( [\w$./-]+)*")
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

_CHANNEL = {"$ref": "#/channels/stream"}

# What answers a message. One that is not here gets no answer of its own.
_REPLIES = {
    "init": ("ready", "error"),
    "flush": ("flushed",),
    "configure": ("configured",),
    "end": ("end_of_transcript", "done"),
    "end_text": ("end_of_transcript", "done"),
}

_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    "authorization": {
        "type": "httpApiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: Token KEY`.",
    },
    "token": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "A short-lived token of `POST /v1/tokens`, for browsers, which cannot set headers.",
    },
    "api_key": {"type": "apiKey", "in": "user", "description": "`api_key` in the init message."},
}


def asyncapi() -> dict[str, Any]:
    """The document as plain data; the same types give the same document."""
    schemas = message_definitions(_SCHEMA_REF) | event_definitions(_SCHEMA_REF)
    messages = _messages(schemas)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stream Server",
            "version": f"{PROTOCOL_VERSION}.0.0",
            "description": "Live audio in, captions out, over one WebSocket; `protocol/README.md` specifies it.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "server": {
                "host": "{host}",
                "protocol": "wss",
                "description": "`ws` where nothing in front of the server speaks TLS.",
                "variables": {"host": {"default": "localhost:8000"}},
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY],
            }
        },
        "channels": {
            "stream": {
                "address": "/ws",
                "title": "One live session",
                "description": "Text frames are JSON, binary frames are audio. The first frame is the init message.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {
                            "type": "object",
                            "properties": {"token": {"type": "string", "description": "Short-lived token."}},
                        },
                        "bindingVersion": "0.1.0",
                    }
                },
            }
        },
        "operations": _operations(messages),
        "components": {"messages": messages, "schemas": schemas, "securitySchemes": _SECURITY},
        "x-errors": [
            {"code": str(code), "close": rule.close_code, "http": rule.http_status, "when": rule.meaning}
            for code, rule in ERROR_TABLE.items()
        ],
    }


def _messages(schemas: dict[str, Definition]) -> dict[str, Any]:
    """All messages by name: a client's by its own type, with the two that are no JSON, then the events."""
    messages: dict[str, Any] = {}
    for kind, name in _names().items():
        schema = schemas[name]
        messages[kind] = {
            "name": kind,
            "title": name,
            "summary": schema["description"],
            "payload": {"$ref": _SCHEMA_REF.format(model=name)},
            "examples": [{"payload": example} for example in schema["examples"]],
        }
    messages["audio"] = {
        "name": "audio",
        "title": "Audio",
        "summary": "A binary frame of any length, in the format that init named. An empty one ends the stream.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    }
    messages["end_text"] = {
        "name": "end_text",
        "title": "EndText",
        "summary": "The same as the end message.",
        "contentType": "text/plain",
        "payload": {"type": "string", "const": END_TEXT},
        "examples": [{"payload": END_TEXT}],
    }
    return messages


def _names() -> dict[str, str]:
    """Wire name of a message or event to its class name. No two share one, because they go opposite ways."""
    names = {"init": Init.__name__, **{kind: model.__name__ for kind, model in MESSAGE_TYPES.items()}}
    events = {kind: event.__name__ for kind, event in EVENT_TYPES.items()}
    assert not names.keys() & events.keys()
    return names | events


def _operations(messages: dict[str, Any]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for kind, message in messages.items():
        action = "send" if kind in EVENT_TYPES else "receive"
        operation = {
            "action": action,
            "channel": _CHANNEL,
            "summary": message["summary"],
            "messages": [{"$ref": f"{_CHANNEL['$ref']}/messages/{kind}"}],
        }
        if kind in _REPLIES:
            answers = [{"$ref": f"{_CHANNEL['$ref']}/messages/{reply}"} for reply in _REPLIES[kind]]
            operation["reply"] = {"channel": _CHANNEL, "messages": answers}
        operations[f"{action}_{kind}"] = operation
    return operations


def to_yaml(value: Any, indent: int = 0) -> str:
    """Dump plain data as YAML: two spaces a level, strings in double quotes unless they are plainly words."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        return "".join(f"{pad}{_scalar(key)}:{_nested(item, indent)}" for key, item in value.items())
    if isinstance(value, list) and value:
        # An item is written one level deeper; the dash takes the place of its first indent.
        return "".join(f"{pad}- {to_yaml(item, indent + 1).lstrip()}" for item in value)
    return f"{pad}{_scalar(value)}\n"


def _nested(value: Any, indent: int) -> str:
    if isinstance(value, dict | list) and value:
        return "\n" + to_yaml(value, indent + 1)
    return f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
