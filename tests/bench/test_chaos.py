"""A short run of the chaos: the real model, the real client, and connections that are cut."""

from __future__ import annotations

import asyncio

from bench.chaos import digest, numbering, play, takes_of
from bench.corpus import load_wheel
from stream_protocol.events import Flushed
from tests.support.running import running_server
from tests.support.speech import moonshine


async def test_sessions_that_are_cut_say_what_uncut_ones_say() -> None:
    takes = takes_of(load_wheel(), 7.0)[:2]
    async with running_server(moonshine()) as server:
        whole = await asyncio.gather(*(play(server.ws_url, take, 0, 1) for take in takes))
        cut = await asyncio.gather(*(play(server.ws_url, take, 4, number) for number, take in enumerate(takes)))
    for one, other in zip(cut, whole, strict=True):
        assert not one.problem
        assert one.cuts.total() >= 4
        assert one.changes["resumed"] >= 2, "two cuts may lie so close that there is nothing to resume in between"
        assert one.changes["restarted"] == 0
        assert len(one.said) > 2
        assert one.degraded or other.degraded or one.said == other.said


def test_events_that_are_missing_or_doubled_are_noticed() -> None:
    assert numbering([Flushed(seq=1), Flushed(seq=2)]) == ""
    assert "twice" in numbering([Flushed(seq=1), Flushed(seq=1)])
    assert "gap" in numbering([Flushed(seq=1), Flushed(seq=3)])
    assert digest([Flushed(seq=1)]) == []
