"""Which files are generated and what is in them. It knows no file system: text in, text out."""

from __future__ import annotations

import json
from typing import Any

from stream_protocol.messages import PROTOCOL_VERSION
from stream_protocol.schema.asyncapi import asyncapi, to_yaml
from stream_protocol.schema.definition import EVENTS, MESSAGES, event_definitions, message_definitions
from stream_protocol.schema.table import fill_tables

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{model}"
_NOTE = "Generated from the types by `python -m stream_protocol.schema`; edit those."


def generate(readme: str) -> dict[str, str]:
    """Every generated file of the ``protocol`` folder.

    Args:
        readme: the specification as it stands; its tables are filled anew, its prose is kept.

    Returns:
        Path inside the folder to content.
    """
    messages, events = message_definitions(_REF), event_definitions(_REF)
    return {
        "README.md": fill_tables(readme),
        "asyncapi.yaml": f"# {_NOTE}\n" + to_yaml(asyncapi()),
        "schemas/message.json": _schema("ClientMessage", list(MESSAGES), messages),
        "schemas/event.json": _schema("Event", list(EVENTS), events),
    }


def _schema(title: str, members: list[str], definitions: dict[str, Any]) -> str:
    schema = {
        "$schema": _DIALECT,
        "title": title,
        "description": f"Version {PROTOCOL_VERSION} of the protocol. {_NOTE}",
        "anyOf": [{"$ref": _REF.format(model=name)} for name in members],
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
