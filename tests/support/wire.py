"""A plain socket to a server: requests and WebSocket frames byte for byte, right and wrong ones alike.

It knows how RFC 6455 writes a frame, and none of its rules.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

PATIENCE: Final = 30.0
"""Seconds after which a server that says nothing has failed the test."""

CONT: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

KEY: Final = base64.b64encode(bytes(range(16))).decode()
ACCEPT: Final = "Bz3qJYTGdOe8gUSpLosEdiLKDrk="
"""What `KEY` has to be answered with: base64 of the SHA-1 of it and of the text that the RFC fixes."""


@dataclass(frozen=True)
class Frame:
    """A frame as it is written; everything about it can be chosen."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0
    mask: bytes | None = b"\x12\x34\x56\x78"

    def encode(self) -> bytes:
        size, masked = len(self.payload), 0x80 if self.mask is not None else 0
        head = bytes([self.fin << 7 | self.reserved << 4 | self.opcode])
        if size < 126:
            head += bytes([masked | size])
        elif size < 2**16:
            head += struct.pack("!BH", masked | 126, size)
        else:
            head += struct.pack("!BQ", masked | 127, size)
        if self.mask is None:
            return head + self.payload
        mask = self.mask
        return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.payload))


def close(code: int | None = 1000, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@dataclass(frozen=True)
class Answer:
    """The head and the body of an HTTP answer; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


@dataclass
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: list[Frame] = field(default_factory=list)

    async def send(self, *pieces: bytes | Frame) -> None:
        """Write as far as the server takes it: what it has to say about it can be read afterwards."""
        try:
            for piece in pieces:
                self.writer.write(piece.encode() if isinstance(piece, Frame) else piece)
                await self.writer.drain()
        except ConnectionError:
            pass

    async def answer(self) -> Answer:
        """The next HTTP answer, with its body where it says how long that is."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    async def frame(self) -> Frame:
        """The next frame of the server; EOFError (IncompleteReadError) when there is none."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "a server does not mask"
            size = second
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(size)
        frame = Frame(first & 15, payload, bool(first & 128), first >> 4 & 7, None)
        self.frames.append(frame)
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of this type; an error that comes before it fails the test."""
        while True:
            frame = await self.frame()
            if frame.opcode == TEXT:
                event: dict[str, Any] = json.loads(frame.payload)
                if event["type"] == kind:
                    return event
                assert event["type"] != "error", event

    async def closing(self) -> int | None:
        """Read to the server's close frame; returns its code, None where it has none."""
        while (await self.frame()).opcode != CLOSE:
            pass
        return self.close_code

    async def ends(self) -> bytes:
        """What still comes before the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(frame.payload) for frame in self.frames if frame.opcode == TEXT]

    @property
    def close_code(self) -> int | None:
        """Of the server's close frame; None where it sent none, or one without."""
        codes = [frame.payload for frame in self.frames if frame.opcode == CLOSE]
        assert len(codes) <= 1, "a connection is closed once"
        return int.from_bytes(codes[0][:2]) if codes and codes[0] else None


def handshake(*lines: str, first: str = "GET /ws HTTP/1.1", without: Sequence[str] = (), host: str = "server") -> bytes:
    """A head that asks for a WebSocket; ``lines`` come on top, ``without`` names what is left out, in small letters."""
    usual = [
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
    ]
    kept = [line for line in usual if line.partition(":")[0].lower() not in without]
    return "\r\n".join([first, *kept, *lines, "", ""]).encode("latin-1")


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """A connection, cut off at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def websocket(port: int, *lines: str) -> AsyncIterator[Wire]:
    """A connection after a handshake that went well."""
    async with wire(port) as connection:
        await connection.send(handshake(*lines))
        answer = await connection.answer()
        assert (answer.status, answer.headers["sec-websocket-accept"]) == (101, ACCEPT)
        yield connection
