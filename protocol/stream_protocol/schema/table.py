"""The tables of the specification, from the schemas; the prose around them is written by hand.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. NAME is ``errors``, ``word``,
``revised_segment``, or the ``type`` of a message or event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from stream_protocol.errors import ERROR_TABLE
from stream_protocol.messages import MESSAGE_TYPES, Init
from stream_protocol.schema.definition import EVENTS, Definition, event_definitions, message_definitions

_MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_REF = "{model}"


def fill_tables(text: str) -> str:
    """Replace every marked table with a fresh one.

    Raises:
        KeyError: a marker names no table.
    """
    tables = _tables()
    return _MARKED.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", text)


def table_names(text: str) -> list[str]:
    """Names of the tables that a text holds, in order."""
    return [found[2] for found in _MARKED.finditer(text)]


def _tables() -> dict[str, str]:
    messages, events = message_definitions(_REF), event_definitions(_REF)
    tables = {"errors": _error_table(), "init": _message_table(messages[Init.__name__])}
    tables |= {kind: _message_table(messages[model.__name__]) for kind, model in MESSAGE_TYPES.items()}
    tables |= {event.type: _event_table(events[name]) for name, event in EVENTS.items()}
    tables |= {"word": _event_table(events["Word"]), "revised_segment": _event_table(events["RevisedSegment"])}
    return tables


def _error_table() -> str:
    rows = [(f"`{code}`", rule.close_code, rule.http_status, rule.meaning) for code, rule in ERROR_TABLE.items()]
    return _table(("code", "close", "HTTP", "when"), rows)


def _message_table(schema: Definition) -> str:
    rows = []
    for name, rule in schema["properties"].items():
        default = "must be given" if name in schema.get("required", []) else _json(rule.get("default"))
        rows.append((f"`{name}`", _type(rule), default, _range(rule), rule.get("description", "")))
    return _table(("field", "type", "default", "allowed", "meaning"), rows)


def _event_table(schema: Definition) -> str:
    rows = []
    for name, rule in schema["properties"].items():
        if name != "type":
            present = "always" if name in schema["required"] else "where it has a value"
            rows.append((f"`{name}`", _type(rule), present, rule.get("description", "")))
    return _table(("field", "type", "present", "meaning"), rows)


def _type(rule: dict[str, Any]) -> str:
    if "$ref" in rule:
        return str(rule["$ref"])
    if "const" in rule:
        return _json(rule["const"])
    if "anyOf" in rule:
        return " or ".join(_type(variant) for variant in rule["anyOf"] if variant != {"type": "null"})
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    kind = " or ".join(kind for kind in kinds if kind != "null")
    return f"{kind} of {_type(rule['items'])}" if kind == "array" else kind


def _range(rule: dict[str, Any]) -> str:
    if "enum" in rule:
        return ", ".join(_json(value) for value in rule["enum"] if value is not None)
    if "minimum" in rule:
        return f"{rule['minimum']} to {rule['maximum']}, else refused"
    if "x-clamped" in rule:
        low, high = rule["x-clamped"]
        return f"{low:g} or more, clamped" if high is None else f"{low:g} to {high:g}, clamped"
    return ""


def _json(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else f"`{json.dumps(value)}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
