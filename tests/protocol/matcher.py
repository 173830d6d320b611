"""Compares what a server said with what a golden conversation expects, and remembers values between steps.

The rules are those of ``protocol/vectors/README.md``. It knows events as JSON objects, not as classes, so that a wrong
type on the wire shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.protocol.vector import ExpectEvent, ExpectEvents

Saved = dict[str, Any]

# These may come at any moment, or not at all.
PASSED_OVER = frozenset({"partial", "ack", "warning"})


class Mismatch(AssertionError):
    """What came is not what was expected."""


def match(pattern: Any, value: Any, saved: Mapping[str, Any], path: str = "event") -> Saved:
    """Compare a value with a pattern.

    Returns:
        The values that the pattern saves, by name.

    Raises:
        Mismatch: naming the place that differs.
        ValueError: the pattern itself is wrong.
    """
    if isinstance(pattern, dict):
        if any(key.startswith("$") for key in pattern):
            return _match_special(pattern, value, saved, path)
        _require(isinstance(value, dict), path, "an object", value)
        found: Saved = {}
        for key, item in pattern.items():
            if item == {"$absent": True}:
                _require(key not in value, f"{path}.{key}", "nothing", value.get(key))
                continue
            _require(key in value, f"{path}.{key}", "a value", "nothing")
            found |= match(item, value[key], saved, f"{path}.{key}")
        return found
    if isinstance(pattern, list):
        _require(isinstance(value, list) and len(value) == len(pattern), path, f"{len(pattern)} items", value)
        found = {}
        for index, (item, one) in enumerate(zip(pattern, value, strict=True)):
            found |= match(item, one, saved, f"{path}[{index}]")
        return found
    same_kind = isinstance(pattern, bool) == isinstance(value, bool)  # JSON's true is not 1, but 1 is 1.0
    _require(same_kind and pattern == value, path, repr(pattern), value)
    return {}


def _match_special(pattern: dict[str, Any], value: Any, saved: Mapping[str, Any], path: str) -> Saved:
    if len(pattern) != 1:
        raise ValueError(f"{path}: a matcher is an object with one key, not {pattern!r}")
    ((name, argument),) = pattern.items()
    found: Saved = {}
    match name, argument:
        case "$any", True:
            pass
        case "$text", True:
            _require(isinstance(value, str) and bool(value.strip()), path, "text", value)
        case "$contains", str():
            _require(isinstance(value, str) and argument in value, path, f"a string with {argument!r}", value)
        case "$int", _:
            _require(isinstance(value, int) and not isinstance(value, bool), path, "an integer", value)
            _require_between(argument, value, path)
        case "$number", _:
            _require(isinstance(value, int | float) and not isinstance(value, bool), path, "a number", value)
            _require_between(argument, value, path)
        case "$each", dict():
            _require(isinstance(value, list) and bool(value), path, "a list that is not empty", value)
            for index, one in enumerate(value):
                found |= match(argument, one, saved, f"{path}[{index}]")
        case "$save", str():
            found[argument] = value
        case "$saved", str():
            found = match(saved[argument], value, saved, path)
        case _:
            raise ValueError(f"{path}: there is no matcher {pattern!r}")
    return found


def _require_between(limits: Any, value: float, path: str) -> None:
    low, high = (0, math.inf) if limits is True else limits
    _require(low <= value <= high, path, f"{low} to {high}", value)


def _require(condition: bool, path: str, expected: str, value: Any) -> None:
    if not condition:
        raise Mismatch(f"{path}: expected {expected}, got {value!r}")


def resolve(value: Any, saved: Mapping[str, Any]) -> Any:
    """The value with every ``{"$saved": name}`` replaced by what was saved."""
    match value:
        case {"$saved": str(name)}:
            return saved[name]
        case dict():
            return {key: resolve(item, saved) for key, item in value.items()}
        case list():
            return [resolve(item, saved) for item in value]
    return value


def match_event(step: ExpectEvent, event: dict[str, Any], saved: Mapping[str, Any]) -> Saved | None:
    """Compare the next event with an ``event`` step.

    Returns:
        The values saved, or None where the event is to be passed over and the next one compared.

    Raises:
        Mismatch: the event is neither expected nor one that may come at any moment.
    """
    try:
        return match(step.event, event, saved)
    except Mismatch:
        if event.get("type") in PASSED_OVER:
            return None
        raise


def match_events(step: ExpectEvents, events: Sequence[dict[str, Any]], saved: Mapping[str, Any]) -> Saved:
    """Compare all events up to the one of the step's type with an ``until`` step.

    Returns:
        The values saved.

    Raises:
        Mismatch: an expected event is missing, or there are more or fewer of a type than expected.
    """
    rest, found = list(events), Saved()
    for pattern in step.include:
        for index, event in enumerate(rest):
            try:
                found |= match(pattern, event, {**saved, **found})
            except Mismatch:
                continue
            del rest[index]
            break
        else:
            raise Mismatch(f"no event matches {pattern!r} among {events!r}")
    counts = Counter(event.get("type") for event in events)
    for kind, number in step.count.items():
        _require(counts[kind] == number, f"number of {kind} events", str(number), counts[kind])
    return found
