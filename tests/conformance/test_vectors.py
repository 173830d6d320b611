"""Every golden conversation, played over a real socket against a real server with a fake recognizer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.protocol.replay import Closed, Refused, replay
from tests.protocol.vector import Vector, load_vectors
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.voices import FakeVoices


class SocketConnection:
    """One client connection, as the replayer wants it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, frame: str | bytes) -> None:
        with suppress(ConnectionClosed):  # what the server said before it closed is still to be read
            await self._socket.send(frame)

    async def receive(self) -> str | Closed:
        try:
            frame = await self._socket.recv()
        except ConnectionClosed:
            assert self._socket.close_code is not None
            return Closed(self._socket.close_code)
        assert isinstance(frame, str)
        return frame

    async def drop(self) -> None:
        self._socket.transport.abort()
        await self._socket.wait_closed()


class SocketServer:
    """A running server, as the replayer wants it."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.sockets: list[ClientConnection] = []

    async def connect(self, headers: Mapping[str, str], query: str) -> SocketConnection | Refused:
        url = self._running.ws_url + (f"?{query}" if query else "")
        try:
            socket = await connect(url, additional_headers=dict(headers), max_size=None)
        except InvalidStatus as refusal:
            response = refusal.response
            return Refused(response.status_code, {key.lower(): value for key, value in response.headers.items()})
        self.sockets.append(socket)
        return SocketConnection(socket)

    async def drain(self) -> None:
        self._running.server.should_exit = True


def _overrides(vector: Vector) -> dict[str, Any]:
    values = vector.head.settings.model_dump(exclude_none=True)
    values.pop("fake_recognizer")
    values.pop("fake_speakers")
    return values


@pytest.mark.parametrize("vector", load_vectors(), ids=lambda vector: vector.name)
async def test_conversation(vector: Vector) -> None:
    recognizer = FakeRecognizer(fails=vector.head.settings.fake_recognizer.fails)
    voices = partial(FakeVoices, revises=vector.head.settings.fake_speakers.revises)
    async with running_server(recognizer, voices, **_overrides(vector)) as running:
        server = SocketServer(running)
        try:
            await replay(vector, server)
        finally:
            await asyncio.gather(*(socket.close() for socket in server.sockets))
