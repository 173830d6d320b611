from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from stream_protocol.events import EVENT_TYPES, ConnectionEvent, Event, Flushed, SessionEvent


def test_every_event_has_its_own_type() -> None:
    assert set(EVENT_TYPES.values()) == set(get_args(Event))
    assert all(event.type == kind for kind, event in EVENT_TYPES.items())


def test_session_events_carry_seq_and_connection_events_do_not() -> None:
    for event in get_args(SessionEvent):
        assert fields(event)[0].name == "seq"
    for event in get_args(ConnectionEvent):
        assert "seq" not in {item.name for item in fields(event)}


def test_events_are_values() -> None:
    assert Flushed(seq=1, id="a") == Flushed(seq=1, id="a") != Flushed(seq=2, id="a")
    with pytest.raises(FrozenInstanceError):
        Flushed(seq=1).seq = 2  # type: ignore[misc]
