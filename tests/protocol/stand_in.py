"""Makes a whole event from a pattern of a golden conversation, for tests that play the server's side."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import zip_longest
from typing import Any

from stream_protocol.events import EVENT_TYPES
from stream_protocol.schema.example import EVENT_EXAMPLES

_EXAMPLES = {event.type: EVENT_EXAMPLES[name][0] for name, event in ((e.__name__, e) for e in EVENT_TYPES.values())}


def fill_event(pattern: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The event that matches the pattern and is otherwise as in the published example of its type."""
    event = deepcopy(_EXAMPLES[pattern["type"]])
    _overlay(event, pattern, saved)
    return event


def _overlay(target: dict[str, Any], pattern: dict[str, Any], saved: Mapping[str, Any]) -> None:
    for name, item in pattern.items():
        if item == {"$absent": True}:
            target.pop(name, None)
        elif isinstance(item, dict) and not any(key.startswith("$") for key in item):
            _overlay(target.setdefault(name, {}), item, saved)
        else:
            target[name] = _value(item, target.get(name), saved)


def _value(pattern: Any, example: Any, saved: Mapping[str, Any]) -> Any:
    """A value that matches a pattern: the example where the pattern leaves it open."""
    match pattern:
        case {"$saved": str(name)}:
            return saved[name]
        case {"$contains": str(part)}:
            return f"... {part} ..."
        case {"$int": [low, *_]} | {"$number": [low, *_]}:
            return low
        case {"$int": _} | {"$number": _}:
            return 0 if example is None else example
        case {"$text": _}:
            return example or "text"
        case {"$each": dict(each)} if isinstance(example, list):
            for item in example:
                _overlay(item, each, saved)
            return example
        case {"$any": _} | {"$save": _} | {"$each": _}:
            return example
        case list():
            examples = example if isinstance(example, list) else []
            return [_value(item, held, saved) for item, held in zip_longest(pattern, examples[: len(pattern)])]
        case dict():
            filled = deepcopy(example) if isinstance(example, dict) else {}
            _overlay(filled, pattern, saved)
            return filled
    return pattern
