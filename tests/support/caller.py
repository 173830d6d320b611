"""A client for tests over real sockets: as plain as the wire allows, and holding the server to its promises."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.protocol.promise import PromiseWatch

PATIENCE = 30.0
"""Seconds after which a server that says nothing has failed the test."""

Frame = str | bytes | dict[str, Any]


@dataclass
class Caller:
    """One connection. ``events`` are those that were received, as JSON objects."""

    socket: ClientConnection
    watch: PromiseWatch = field(default_factory=PromiseWatch)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, *frames: Frame) -> None:
        """Send, as far as the server takes it: what it has to say about it can be received afterwards."""
        try:
            for frame in frames:
                await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)
        except ConnectionClosed:
            pass

    async def receive(self) -> dict[str, Any]:
        """The next event; raises ConnectionClosed."""
        async with asyncio.timeout(PATIENCE):
            text = await self.socket.recv()
        event: dict[str, Any] = json.loads(text)
        self.events.append(event)
        self.watch.receive(event)
        return event

    async def until(self, kind: str) -> dict[str, Any]:
        while (event := await self.receive())["type"] != kind:
            pass
        return event

    async def rest(self) -> int:
        """Receive to the close; returns its code."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed:
            assert self.socket.close_code is not None
            return self.socket.close_code

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in kinds]

    @property
    def finals(self) -> list[dict[str, Any]]:
        return self.of("final_segment")


async def call(url: str, init: Frame | None = None, **options: Any) -> Caller:
    """Connect, and send an init message where one is given."""
    caller = Caller(await connect(url, max_size=None, proxy=None, **options))
    if init is not None:
        await caller.send(init)
    return caller


async def transcribe(url: str, audio: bytes, init: Frame, **options: Any) -> Caller:
    """A whole session, which has to end well."""
    caller = await call(url, init, **options)
    frames = [audio[start : start + 6400] for start in range(0, len(audio), 6400)]
    _, code = await asyncio.gather(caller.send(*frames, "END"), caller.rest())
    assert code == 1000, caller.events[-1]
    assert caller.events[-1]["type"] == "done"
    return caller
