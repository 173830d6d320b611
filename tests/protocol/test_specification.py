"""The specification's prose names everything, and its tables and examples are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from stream_protocol import ERROR_TABLE, ErrorCode, decode_init
from stream_protocol.audio_format import DTYPES
from stream_protocol.events import EVENT_TYPES, WarningCode
from stream_protocol.messages import MESSAGE_TYPES, Init
from stream_protocol.schema.table import fill_tables, table_names

FOLDER = Path(__file__).resolve().parents[2] / "protocol"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def table(name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    found = re.search(rf"<!-- table {name} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert found
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in found[1].splitlines()[2:]]


def test_the_error_table_is_that_of_the_code() -> None:
    rows = [(code.strip("`"), int(close), int(status), meaning) for code, close, status, meaning in table("errors")]
    assert rows == [(code, rule.close_code, rule.http_status, rule.meaning) for code, rule in ERROR_TABLE.items()]


def test_every_message_and_event_has_a_table() -> None:
    without_fields = {"keepalive", "end"}
    expected = {"init", "errors", "word", "revised_segment", *MESSAGE_TYPES, *EVENT_TYPES} - without_fields
    assert sorted(table_names(README)) == sorted(expected)
    for kind in without_fields:
        assert f'{{"type": "{kind}"}}' in README


def test_the_table_of_init_has_every_field() -> None:
    assert [row[0].strip("`") for row in table("init")] == list(Init.model_fields)


@pytest.mark.parametrize("name", [*ErrorCode, *WarningCode, *(set(DTYPES.values())), *MESSAGE_TYPES, *EVENT_TYPES])
def test_every_name_is_in_the_specification(name: str) -> None:
    assert name in README


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        fill_tables("<!-- table nonsense -->\n<!-- end -->")


def test_the_conversation_is_one() -> None:
    block = README.split("```")[1]
    validator = Draft202012Validator(json.loads((FOLDER / "schemas" / "event.json").read_text(encoding="utf-8")))
    sent = [line[2:] for line in block.splitlines() if line.startswith("> {")]
    received = [json.loads(line[2:].replace("{...}", "{}")) for line in block.splitlines() if line.startswith("< {")]
    assert [decode_init(text).dtype for text in sent] == ["int16"]
    for event in received:
        validator.validate(event)
    assert [event["type"] for event in received] == [
        "ready",
        "speech_start",
        "partial",
        "speech_end",
        "final_segment",
        "end_of_transcript",
        "done",
    ]


def test_the_python_example_compiles() -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found
    compile(found[1], "README.md", "exec")


def test_links_lead_to_files() -> None:
    for path in re.findall(r"^\| (`[^|]+`) \|", README.split("## The files")[1], re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", path):
            assert (FOLDER / name).exists(), name
