"""JSON Schema definitions of messages and events, as they are on the wire.

They differ from what pydantic derives. A message's optional fields may be null, which means the default. An event's
``type`` is a class variable, so it is added; its fields without a value are left out on the wire, so they are never
null; and every other field is always there. Field descriptions are the strings below the fields in the source.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from stream_protocol.events import EVENT_TYPES, RevisedSegment
from stream_protocol.messages import CONFIG_FIELDS, MESSAGE_TYPES, Init, Message
from stream_protocol.schema.example import EVENT_EXAMPLES, MESSAGE_EXAMPLES
from stream_protocol.transcript import Word

Definition = dict[str, Any]

_MODELS: tuple[type[Message], ...] = (Init, *MESSAGE_TYPES.values())
MESSAGES = {model.__name__: model for model in _MODELS}
PARTS: tuple[type, ...] = (Word, RevisedSegment)
"""What events are made of, where that has fields of its own."""
EVENTS = {event.__name__: event for event in EVENT_TYPES.values()}


def message_definitions(ref: str) -> dict[str, Definition]:
    """Definitions of all messages by class name; ``ref`` is where definitions live, with ``{model}`` for the name."""
    definitions = {}
    for name, model in MESSAGES.items():
        schema = model.model_json_schema(ref_template=ref)
        required = schema.get("required", [])
        for field, rule in schema["properties"].items():
            schema["properties"][field] = rule if field in required else _nullable(rule)
        definitions[name] = _finish(schema, model) | {"examples": MESSAGE_EXAMPLES[name]}
    return definitions


def event_definitions(ref: str) -> dict[str, Definition]:
    """Definitions of all events by class name, then those that they refer to."""
    definitions: dict[str, Definition] = {}
    shared: dict[str, Definition] = {"Config": _config(ref)}
    for name, event in EVENTS.items():
        schema = TypeAdapter(event).json_schema(mode="serialization", ref_template=ref)
        shared |= schema.pop("$defs", {})
        properties = {"type": {"const": event.type, "type": "string"}}
        for field, rule in schema["properties"].items():
            properties[field] = _never_null(rule)
        if "config" in properties:
            properties["config"] = {"$ref": ref.format(model="Config")}
        schema["properties"] = properties
        schema["required"] = ["type", *(item.name for item in fields(event) if item.default is not None)]
        definitions[name] = _finish(schema, event) | {"examples": EVENT_EXAMPLES[name]}
    for part in PARTS:
        schema = shared[part.__name__]
        schema["properties"] = {name: _never_null(rule) for name, rule in schema["properties"].items()}
        shared[part.__name__] = _finish(schema, part)
    return definitions | {name: shared[name] for name in sorted(shared)}


def _config(ref: str) -> Definition:
    """The settings in force, echoed by ``ready`` and ``configured``: init's, each with a value where it has one."""
    properties = Init.model_json_schema(ref_template=ref)["properties"]
    schema = {
        "title": "Config",
        "description": "The settings in force: those of init after defaults and clamping.",
        "type": "object",
        "properties": {name: _never_null(properties[name]) for name in CONFIG_FIELDS},
    }
    return _finish(schema, Init)


def _finish(schema: Definition, source: type) -> Definition:
    """Add the descriptions of the fields, and drop the titles, which only repeat their names."""
    described = _field_descriptions(source)
    for name, rule in schema["properties"].items():
        rule.pop("title", None)
        if name in described:
            rule["description"] = described[name]
    schema["description"] = inspect.cleandoc(schema["description"]).replace("``", "`")
    return schema


def _nullable(rule: Definition) -> Definition:
    rule = _never_null(rule)
    if isinstance(rule.get("type"), str):
        rule = {**rule, "type": [rule["type"], "null"]}
        return {**rule, "enum": [*rule["enum"], None]} if "enum" in rule else rule
    return {**rule, "anyOf": [*rule["anyOf"], {"type": "null"}]}


def _never_null(rule: Definition) -> Definition:
    """The rule without its null variant and without a null default; a single variant left takes the rule's place."""
    rule = {key: value for key, value in rule.items() if not (key == "default" and value is None)}
    variants = [variant for variant in rule.pop("anyOf", []) if variant != {"type": "null"}]
    if len(variants) == 1:
        return {**variants[0], **rule}
    return {**rule, "anyOf": variants} if variants else rule


def _field_descriptions(source: type) -> dict[str, str]:
    """Name of a field to the string below it in the class's source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(source))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            found[node.target.id] = inspect.cleandoc(following.value.value)
    return found
