"""Clients as no server wants them, for the soak. Each does one bad thing, ends, and expects nothing of the answer.

They keep to what a stranger can do over TCP: they know the addresses of the server and the form of a handshake.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

INIT: Final = '{"type":"init","dtype":"int16"}'
LARGE_BYTES: Final = 16 * 2**20
MANY: Final = 20  # connections at once, of those who come in numbers
FRAMES: Final = 200
SLOW_SEC: Final = 0.5  # between two bytes
SLOW_BYTES: Final = 20
HOLD_SEC: Final = 10.0
PATIENCE_SEC: Final = 60.0  # then the next one's turn

Attack = Callable[[str, random.Random], Awaitable[None]]
"""``HOST:PORT`` and chance in."""


async def fuzz(address: str, chance: random.Random) -> None:
    """Bytes that are no frames, behind a handshake that is one."""
    for _ in range(MANY):
        reader, writer = await _shake_hands(address)
        with suppress(OSError):
            writer.write(chance.randbytes(chance.randint(1, 4096)))
            await writer.drain()
            async with asyncio.timeout(HOLD_SEC):
                await reader.read()
        writer.transport.abort()


async def send_nonsense(address: str, chance: random.Random) -> None:
    """Well-formed frames of any content, some in place of the init message and some behind it."""
    for with_init in (False, True):
        async with _connected(address) as server:
            if with_init:
                await server.send(INIT)
            for _ in range(FRAMES):
                size = chance.randint(0, 2000)
                data = chance.randbytes(size)
                await server.send(data if chance.random() < 0.5 else base64.b85encode(data).decode())


async def send_slowly(address: str, chance: random.Random) -> None:
    """Slow loris: a handshake or a request byte by byte, many at once, and then nothing."""

    async def drip() -> None:
        _, writer = await _open(address)
        head = chance.choice((b"GET /ws HTTP/1.1\r\nHost: ", b"POST /v1/audio/transcriptions HTTP/1.1\r\nX: "))
        with suppress(OSError):
            for byte in (head + b"a" * SLOW_BYTES)[:SLOW_BYTES]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(SLOW_SEC)
        writer.transport.abort()

    await asyncio.gather(*(drip() for _ in range(MANY)))


async def hold_half_open(address: str, chance: random.Random) -> None:
    """Sessions that say nothing more, and connections that never say anything; all go without a word."""
    silent = [await _open(address) for _ in range(MANY)]

    async def fall_silent() -> None:
        async with _connected(address) as server:
            await server.send(INIT)
            await server.send(chance.randbytes(32_000))
            await asyncio.sleep(HOLD_SEC)

    await asyncio.gather(*(fall_silent() for _ in range(MANY)), return_exceptions=True)
    for _, writer in silent:
        writer.transport.abort()


async def flood(address: str, chance: random.Random) -> None:
    """Connections without end, flushes without end, and audio as fast as it goes."""
    for _ in range(FRAMES):
        _, writer = await _open(address)
        writer.transport.abort()
    async with _connected(address) as server:
        await server.send(INIT)
        for number in range(5 * FRAMES):
            await server.send(f'{{"type":"flush","id":{number}}}')
    async with _connected(address) as server:
        await server.send(INIT)
        async with asyncio.timeout(HOLD_SEC):
            for _ in range(FRAMES):
                await server.send(chance.randbytes(3200))


async def send_large(address: str, chance: random.Random) -> None:
    """Messages of 16 MB: binary, text, and JSON that is audio."""
    for message in (bytes(LARGE_BYTES), "a" * LARGE_BYTES, '{"type":"frame","audio":"' + "A" * LARGE_BYTES + '"}'):
        async with _connected(address) as server:
            await server.send(INIT)
            await server.send(message)
            await server.wait_closed()


async def never_read(address: str, chance: random.Random) -> None:
    """Much that is answered, and no answer taken."""
    _, writer = await _shake_hands(address)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(HOLD_SEC):
            writer.write(_frame(INIT.encode()))
            for number in range(100_000):
                writer.write(_frame(b'{"type":"configure","keyterms":["%d"]}' % number))
                await writer.drain()
    await asyncio.sleep(HOLD_SEC)
    writer.transport.abort()


ATTACKS: Final[tuple[Attack, ...]] = (
    fuzz,
    send_nonsense,
    send_slowly,
    hold_half_open,
    flood,
    send_large,
    never_read,
)


async def attack(address: str, kind: Attack, chance: random.Random) -> None:
    """One attack, whatever comes of it."""
    with suppress(OSError, TimeoutError, WebSocketException, EOFError):
        async with asyncio.timeout(PATIENCE_SEC):
            await kind(address, chance)


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _shake_hands(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket without a library that keeps its rules."""
    reader, writer = await _open(address)
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def _frame(text: bytes) -> bytes:
    """A text frame of a client, masked with zeros."""
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[ClientConnection]:
    """A socket that is gone at the end, without a close."""
    server = await connect(f"ws://{address}/ws", proxy=None, max_size=None, ping_interval=None)
    try:
        yield server
    finally:
        server.transport.abort()
        await server.wait_closed()
