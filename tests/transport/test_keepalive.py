"""Pings: a caller that sends is alive however late its pong is read, and one that has gone is noticed."""

from __future__ import annotations

import asyncio
import threading

from tests.protocol.sound import synthesize
from tests.support.caller import call
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm

INIT = {"dtype": "int16"}
INTERVAL = 0.05


def hurry(server: Running) -> None:
    server.server.config.ws_ping_interval = server.server.config.ws_ping_timeout = INTERVAL


async def test_a_sender_that_is_held_back_is_not_taken_for_dead() -> None:
    gate = threading.Event()
    async with running_server(FakeRecognizer(gate=gate), max_backlog=0.5) as server:
        hurry(server)
        caller = await call(server.ws_url, INIT | {"inactivity_timeout": 1.0}, ping_interval=None)
        await caller.until("ready")
        utterance = pcm(synthesize("speech", 16_000, 16_000)) + bytes(48_000)
        flood = asyncio.create_task(caller.send(*[utterance] * 300, "END"))
        assert (await caller.until("warning"))["code"] == "BACKPRESSURE"
        await asyncio.sleep(1.5)  # pongs lie behind audio that nobody reads, and so does all that is said
        gate.set()
        assert await caller.rest() == 1000
        await flood
        assert len(caller.finals) == 300


async def test_a_caller_that_has_gone_is_noticed() -> None:
    async with running_server(FakeRecognizer()) as server:
        hurry(server)
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        live = next(iter(server.service.registry._sessions.values()))
        caller.socket.transport.pause_reading()
        while live.is_attached:
            await asyncio.sleep(INTERVAL)
            assert not live.closed.is_set(), "it may come back"
        caller.socket.transport.abort()
