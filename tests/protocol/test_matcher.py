from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.matcher import Mismatch, match, match_event, match_events, resolve
from tests.protocol.vector import ExpectEvent, ExpectEvents

ACCEPTED: list[tuple[Any, Any]] = [
    ({}, {"a": 1}),
    ({"a": 1}, {"a": 1.0, "b": 2}),
    ({"a": {"b": "x"}}, {"a": {"b": "x", "c": 1}}),
    ([1, {"$int": True}], [1, 2]),
    ({"$any": True}, None),
    ({"a": {"$absent": True}}, {}),
    ({"$text": True}, "a"),
    ({"$contains": "rate"}, "field 'sample_rate'"),
    ({"$int": [-1, 1]}, -1),
    ({"$number": True}, 0.5),
    ({"$number": [0, 1]}, 1),
    ({"$each": {"word": {"$text": True}}}, [{"word": "a"}, {"word": "b", "x": 1}]),
    (None, None),
    (True, True),
]

REFUSED: list[tuple[Any, Any, str]] = [
    ({"a": 1}, {}, "event.a: expected a value"),
    ({"a": 1}, 5, "event: expected an object"),
    ({"a": 1}, {"a": 2}, "event.a: expected 1, got 2"),
    ({"a": 1}, {"a": True}, "event.a"),
    ({"a": False}, {"a": 0}, "event.a"),
    ({"a": [1]}, {"a": [1, 2]}, r"event.a: expected 1 items"),
    ([1, 2], [1, 3], r"event\[1\]"),
    ({"a": {"$any": True}}, {}, "event.a"),
    ({"a": {"$absent": True}}, {"a": None}, "event.a"),
    ({"$text": True}, " ", "text"),
    ({"$text": True}, 1, "text"),
    ({"$contains": "x"}, "abc", "abc"),
    ({"$int": True}, 1.0, "integer"),
    ({"$int": True}, True, "integer"),
    ({"$int": True}, -1, "0 to inf"),
    ({"$int": [1, 2]}, 3, "1 to 2"),
    ({"$number": True}, "1", "number"),
    ({"$number": True}, float("nan"), "0 to inf"),
    ({"$each": {"$int": True}}, [], "empty"),
    ({"$each": {"$int": True}}, [1, "a"], r"event\[1\]"),
]


@pytest.mark.parametrize(("pattern", "value"), ACCEPTED)
def test_accepts(pattern: Any, value: Any) -> None:
    assert match(pattern, value, {}) == {}


@pytest.mark.parametrize(("pattern", "value", "reason"), REFUSED)
def test_refuses_and_says_where(pattern: Any, value: Any, reason: str) -> None:
    with pytest.raises(Mismatch, match=reason):
        match(pattern, value, {})


@pytest.mark.parametrize("pattern", [{"$some": True}, {"$any": True, "$int": True}, {"$any": False}, {"$save": 1}])
def test_a_wrong_pattern_is_no_mismatch(pattern: Any) -> None:
    with pytest.raises(ValueError, match="matcher"):
        match(pattern, 1, {})


def test_saved_values_are_compared_and_put_in_messages() -> None:
    saved = match({"seq": {"$save": "seq"}, "deep": [{"$save": "id"}]}, {"seq": 4, "deep": ["s_1"]}, {})
    assert saved == {"seq": 4, "id": "s_1"}
    assert resolve({"last_seq": {"$saved": "seq"}, "all": [{"$saved": "id"}]}, saved) == {"last_seq": 4, "all": ["s_1"]}
    match({"$saved": "seq"}, 4, saved)
    with pytest.raises(Mismatch):
        match({"$saved": "seq"}, 5, saved)


def test_events_that_may_come_at_any_moment_are_passed_over() -> None:
    step = ExpectEvent(dir="server", event={"type": "speech_end", "seq": {"$save": "seq"}})
    for kind in ("partial", "ack", "warning"):
        assert match_event(step, {"type": kind, "seq": 1}, {}) is None
    assert match_event(step, {"type": "speech_end", "seq": 3}, {}) == {"seq": 3}
    with pytest.raises(Mismatch):
        match_event(step, {"type": "final_segment", "seq": 3}, {})


def test_a_partial_that_differs_is_passed_over_until_one_matches() -> None:
    step = ExpectEvent(dir="server", event={"type": "partial", "text": "ab"})
    assert match_event(step, {"type": "partial", "text": "a"}, {}) is None
    assert match_event(step, {"type": "partial", "text": "ab"}, {}) == {}


def until(include: list[dict[str, Any]], **count: int) -> ExpectEvents:
    return ExpectEvents(dir="server", events="until", type="done", include=include, count=count)


EVENTS: list[dict[str, Any]] = [
    {"type": "final_segment", "channel": 1, "seq": 1},
    {"type": "final_segment", "channel": 0, "seq": 2},
    {"type": "done", "seq": 3},
]


def test_events_are_found_in_any_order_and_counted() -> None:
    step = until([{"channel": 0, "seq": {"$save": "seq"}}, {"channel": 1}], final_segment=2, partial=0)
    assert match_events(step, EVENTS, {}) == {"seq": 2}


def test_one_event_satisfies_one_pattern() -> None:
    with pytest.raises(Mismatch, match="no event matches"):
        match_events(until([{"type": "done"}, {"type": "done"}]), EVENTS, {})


def test_a_wrong_count_is_a_mismatch() -> None:
    with pytest.raises(Mismatch, match="number of final_segment events: expected 1, got 2"):
        match_events(until([], final_segment=1), EVENTS, {})


def test_values_saved_by_one_pattern_serve_the_next() -> None:
    same = until([{"type": "final_segment", "channel": {"$save": "channel"}}, {"channel": {"$saved": "channel"}}])
    with pytest.raises(Mismatch):
        match_events(same, EVENTS, {})
