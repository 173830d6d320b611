"""Plays the client's side of a golden conversation against a server, and checks what comes back.

It holds every event against the published schema and every session against the promises, besides what the conversation
itself expects. It knows no socket: a test hands in a :class:`Server` that opens real connections.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jsonschema import Draft202012Validator

from stream_protocol.audio_format import SAMPLE_BYTES
from tests.protocol.matcher import PASSED_OVER, Mismatch, Saved, match, match_event, match_events, resolve
from tests.protocol.promise import PromiseWatch
from tests.protocol.sound import render
from tests.protocol.vector import (
    VECTOR_FOLDER,
    Audio,
    Connect,
    Drain,
    Drop,
    ExpectClose,
    ExpectEvent,
    ExpectEvents,
    ExpectHttp,
    Resend,
    SendAudio,
    SendRaw,
    SendText,
    Step,
    Vector,
    Wait,
)

_EVENT = Draft202012Validator(json.loads((VECTOR_FOLDER.parent / "schemas" / "event.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Closed:
    """The server has closed the connection."""

    code: int


@dataclass(frozen=True)
class Refused:
    """The server has refused the upgrade; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]


class Connection(Protocol):
    async def send(self, frame: str | bytes) -> None:
        """Send a frame; on a connection that the server has closed it is lost, and that is no error."""

    async def receive(self) -> str | Closed:
        """The next text frame, or how the connection ended."""

    async def drop(self) -> None:
        """Cut the connection without a close frame."""


class Server(Protocol):
    async def connect(self, headers: Mapping[str, str], query: str) -> Connection | Refused:
        """Open `/ws`."""

    async def drain(self) -> None:
        """Begin to shut down; returns at once."""


async def replay(vector: Vector, server: Server, limit_sec: float = 30.0) -> None:
    """Play a whole conversation.

    Raises:
        AssertionError: the server did something else.
        TimeoutError: the server did nothing for too long.
    """
    async with asyncio.timeout(limit_sec):
        player = _Player(server)
        for number, step in enumerate(vector.steps, start=2):
            try:
                await player.play(step)
            except AssertionError as error:
                raise AssertionError(f"{vector.name}:{number}: {error}") from error


@dataclass
class _Player:
    server: Server
    saved: Saved = field(default_factory=dict)
    connections: dict[str, Connection | Refused] = field(default_factory=dict)
    sent: dict[str, list[Audio]] = field(default_factory=dict)
    watches: dict[str, PromiseWatch] = field(default_factory=dict)  # by session
    sessions: dict[str, str] = field(default_factory=dict)  # by connection; a session has one at a time

    async def play(self, step: Step) -> None:
        match step:
            case Connect():
                self.connections[step.on] = await self.server.connect(step.connect.headers, step.connect.query)
            case SendText():
                text = step.text if isinstance(step.text, str) else json.dumps(resolve(step.text, self.saved))
                await (await self._connection(step.on)).send(text)
            case SendRaw():
                await (await self._connection(step.on)).send(step.raw)
            case SendAudio():
                self.sent.setdefault(step.on, []).append(step.audio)
                await self._send_audio(step.on, step.audio, render(step.audio))
            case Resend():
                await self._resend(step)
            case Wait():
                await asyncio.sleep(step.wait)
            case Drop():
                await (await self._connection(step.on)).drop()
            case Drain():
                await self.server.drain()
            case ExpectEvent():
                await self._expect_event(step)
            case ExpectEvents():
                await self._expect_events(step)
            case ExpectClose():
                await self._expect_close(step)
            case ExpectHttp():
                refused = self.connections[step.on]
                assert isinstance(refused, Refused), "the upgrade was not refused"
                match(step.http, refused.status, self.saved, "status")
                match(step.headers, dict(refused.headers), self.saved, "headers")

    async def _connection(self, name: str) -> Connection:
        if name not in self.connections:
            self.connections[name] = await self.server.connect({}, "")
        connection = self.connections[name]
        assert not isinstance(connection, Refused), f"the upgrade was refused: {connection}"
        return connection

    async def _send_audio(self, name: str, audio: Audio, data: bytes) -> None:
        connection = await self._connection(name)
        second = audio.sample_rate * audio.channels * SAMPLE_BYTES[audio.dtype]
        size = audio.frame_bytes or second // 10
        if audio.bytes_b64 is not None:
            size = max(len(data), 1)
        for start in range(0, max(len(data), 1), size):
            frame = data[start : start + size]
            if audio.json_frames:
                await connection.send(json.dumps({"type": "frame", "audio": base64.b64encode(frame).decode()}))
            else:
                await connection.send(frame)
            if audio.pace:
                await asyncio.sleep(audio.pace * len(frame) / second)

    async def _resend(self, step: Resend) -> None:
        sent = self.sent[step.resend]
        first = sent[0]
        assert not any(audio.wav or audio.bytes_b64 for audio in sent), "only plain samples can be sent again"
        skipped = self.saved[step.start] * first.channels * SAMPLE_BYTES[first.dtype]
        if rest := b"".join(map(render, sent))[skipped:]:  # an empty frame would be the end
            await self._send_audio(step.on, first, rest)

    async def _receive(self, name: str) -> dict[str, Any] | Closed:
        frame = await (await self._connection(name)).receive()
        if isinstance(frame, Closed):
            return frame
        event: dict[str, Any] = json.loads(frame)
        problem = next(_EVENT.iter_errors(event), None)
        assert problem is None, f"not an event: {problem}"
        if event["type"] == "ready":
            self._greet(name, event["session_id"])
        if name in self.sessions:
            self.watches[self.sessions[name]].receive(event)
        return event

    def _greet(self, name: str, session: str) -> None:
        """From now on the session belongs to this connection; what an older one still says is not its business."""
        self.sessions = {other: owned for other, owned in self.sessions.items() if owned != session or other == name}
        if name not in self.sessions:
            self.sessions[name] = session
            self.watches.setdefault(session, PromiseWatch()).connect()

    async def _next_event(self, name: str) -> dict[str, Any]:
        event = await self._receive(name)
        assert not isinstance(event, Closed), f"{event} came where an event was expected"
        return event

    async def _expect_event(self, step: ExpectEvent) -> None:
        found = None
        while found is None:
            found = match_event(step, await self._next_event(step.on), self.saved)
        self.saved |= found

    async def _expect_events(self, step: ExpectEvents) -> None:
        events = [await self._next_event(step.on)]
        while events[-1]["type"] != step.type:
            if events[-1]["type"] == "error":
                raise Mismatch(f"an error came before {step.type}: {events[-1]}")
            events.append(await self._next_event(step.on))
        self.saved |= match_events(step, events, self.saved)

    async def _expect_close(self, step: ExpectClose) -> None:
        while not isinstance(event := await self._receive(step.on), Closed):
            assert event["type"] in PASSED_OVER, f"{event} came where the close was expected"
        assert event.code == step.close, f"closed with {event.code}, not {step.close}"
