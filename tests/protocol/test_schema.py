"""The generated files are those of the types, and they are what they claim to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stream_protocol import ERROR_TABLE, ErrorCode
from stream_protocol.events import EVENT_TYPES, WarningCode
from stream_protocol.messages import MESSAGE_TYPES
from stream_protocol.schema import generate
from stream_protocol.schema.asyncapi import asyncapi, to_yaml
from stream_protocol.schema.definition import EVENTS, MESSAGES

FOLDER = Path(__file__).resolve().parents[2] / "protocol"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", generate(README))
def test_generated_files_are_up_to_date(name: str) -> None:
    message = "run: python -m stream_protocol.schema"
    assert (FOLDER / name).read_text(encoding="utf-8") == generate(README)[name], message


def load(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / "schemas" / name).read_text(encoding="utf-8"))
    return schema


def references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for item in value.values():
                yield from references(item)
        case list():
            for item in value:
                yield from references(item)


def follow(document: dict[str, Any], reference: str) -> Any:
    value: Any = document
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


@pytest.mark.parametrize("document", [asyncapi(), load("message.json"), load("event.json")], ids=lambda _: "")
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert found
    for reference in found:
        assert follow(document, reference)


@pytest.mark.parametrize(("name", "members"), [("message.json", MESSAGES), ("event.json", EVENTS)])
def test_schemas_are_schemas_and_their_examples_valid(name: str, members: dict[str, Any]) -> None:
    schema = load(name)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert [item["$ref"].rpartition("/")[2] for item in schema["anyOf"]] == list(members)
    for member in members:
        assert schema["$defs"][member]["examples"]
        for example in schema["$defs"][member]["examples"]:
            validator.validate(example)


@pytest.mark.parametrize("name", ["message.json", "event.json"])
def test_every_field_is_described(name: str) -> None:
    for title, definition in load(name)["$defs"].items():
        assert definition["description"], title
        for field, rule in definition.get("properties", {}).items():
            assert "description" in rule or "$ref" in rule or "const" in rule, f"{title}.{field}"


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "config", "model": None, "dtype": None, "words": None},
        {"chunk_size_sec": 1e9, "last_seq": -1, "unknown": {"a": 1}},
        {"type": "flush", "id": "a"},
        {"type": "configure", "keyterms": ["a"]},
        {"type": "end", "unknown": 1},
    ],
)
def test_the_message_schema_accepts(message: dict[str, Any]) -> None:
    assert Draft202012Validator(load("message.json")).is_valid(message)


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"sample_rate": "16000"},
        {"sample_rate": 4000},
        {"channels": 9},
        {"dtype": "int24"},
        {"type": "hello"},
        {"type": "flush", "id": 1.5},
        {"type": "frame"},
        {"type": "configure", "words": "no"},
    ],
)
def test_the_message_schema_refuses(message: Any) -> None:
    assert not Draft202012Validator(load("message.json")).is_valid(message)


def test_the_event_schema_wants_every_field_that_is_always_there_and_no_null() -> None:
    schema = load("event.json")
    validator = Draft202012Validator(schema)
    for name in EVENTS:
        definition = schema["$defs"][name]
        example = definition["examples"][0]
        for field in example:
            without = {key: value for key, value in example.items() if key != field}
            assert validator.is_valid(without) == (field not in definition["required"]), f"{name}.{field}"
            assert not validator.is_valid(example | {field: None}), f"{name}.{field}"


def test_asyncapi_is_yaml_of_the_document() -> None:
    assert yaml.safe_load((FOLDER / "asyncapi.yaml").read_text(encoding="utf-8")) == asyncapi()


def test_asyncapi_says_what_goes_which_way() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    ways: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in document["operations"].values():
        for message in operation["messages"]:
            ways[operation["action"]].add(message["$ref"].rpartition("/")[2])
    assert ways == {"receive": {"init", *MESSAGE_TYPES, "audio", "end_text"}, "send": set(EVENT_TYPES)}
    assert document["channels"]["stream"]["messages"].keys() == ways["receive"] | ways["send"]
    assert document["components"]["messages"].keys() == ways["receive"] | ways["send"]


def test_asyncapi_names_every_code() -> None:
    document = asyncapi()
    assert document["components"]["schemas"]["ErrorCode"]["enum"] == list(ErrorCode)
    assert document["components"]["schemas"]["WarningCode"]["enum"] == list(WarningCode)
    assert {row["code"]: (row["close"], row["http"], row["when"]) for row in document["x-errors"]} == {
        code: (rule.close_code, rule.http_status, rule.meaning) for code, rule in ERROR_TABLE.items()
    }


def test_asyncapi_examples_are_valid() -> None:
    document = asyncapi()
    for message in document["components"]["messages"].values():
        for example in message.get("examples", []):
            schema = {**message["payload"], "components": document["components"]}
            Draft202012Validator(schema).validate(example["payload"])


# Text as a document holds it, which is printable, and words that YAML would take for something else.
printable = st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], include_characters=" \n", codec="utf-8"))
tricky = st.sampled_from(["yes", "Null", "a: b", "-", "# a", "1", "1e3", "~", "a #b", "=", "<<", "2026-01-01", ".inf"])
leaf = st.none() | st.booleans() | st.integers() | st.sampled_from([0.08, 0.5, 86400.0]) | printable | tricky
plain_data = st.recursive(
    leaf, lambda item: st.lists(item, max_size=4) | st.dictionaries(printable | tricky, item, max_size=4), max_leaves=8
)


@settings(deadline=None)
@given(plain_data)
def test_yaml_comes_back_as_it_went(data: Any) -> None:
    assert yaml.safe_load(to_yaml(data)) == data
