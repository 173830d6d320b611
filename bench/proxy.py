"""A network that does what networks do: a TCP proxy in this event loop, with faults on demand. It knows no protocol.

    async with Proxy("127.0.0.1:8000") as network:
        ... connect to network.address ...
        network.cut()

Connections go to the targets in turn, as behind a load balancer: one that refuses, or does not answer 200 at
``health``, is passed over.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

CHUNK_BYTES: Final = 16 * 1024
CHUNKS_UNDER_WAY: Final = 64
"""Pieces that may be on their way in one direction; then the sender is not read."""
HEALTH_SEC: Final = 2.0


class Fault(Enum):
    """How a connection ends."""

    RESET = auto()  # both sides get a reset, what is under way is lost
    CLOSE = auto()  # both sides get an end, what is under way is lost
    HALF_CLOSE = auto()  # the server gets the end of what the client sends; the other direction stays open
    FREEZE = auto()  # nobody learns anything, and nothing arrives any more


class Link:
    """One connection through the proxy."""

    def __init__(self, network: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._network = network
        self._client = client
        self._server = server
        self._moving = asyncio.Event()
        self._moving.set()
        self._passed = 0
        self._fault: tuple[int, Fault] | None = None
        self._is_half_closed = False
        self.ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether both directions can still carry something."""
        return not (self._client.is_closing() or self._server.is_closing())

    def cut(self, fault: Fault = Fault.RESET, *, after_bytes: int = 0) -> None:
        """End the connection, once so many more bytes of the client have passed: in the middle of a frame, say."""
        if after_bytes:
            self._fault = self._passed + after_bytes, fault
            return
        match fault:
            case Fault.FREEZE:
                self._moving.clear()
            case Fault.HALF_CLOSE:
                self._is_half_closed = True
                with suppress(OSError):
                    self._server.write_eof()
            case Fault.RESET | Fault.CLOSE:
                for writer in (self._client, self._server):
                    _end(writer, with_reset=fault is Fault.RESET)
                self._moving.set()

    def thaw(self) -> None:
        """What was frozen moves on, late."""
        self._moving.set()

    async def carry(self, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        """Until both directions have ended."""
        await asyncio.gather(
            self._pipe(client, self._server, self._count), self._pipe(server, self._client, self._network.answered)
        )
        for writer in (self._client, self._server):
            _end(writer, with_reset=False)

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[int], int]
    ) -> None:
        """``passes``: told the length of each piece, says how much of it may go on."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)
        loop = asyncio.get_running_loop()

        async def take() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(CHUNK_BYTES)
                except OSError:
                    data = b""
                await under_way.put((loop.time() + self._network.delay_sec, data))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._moving.wait()
                if not data:
                    break
                if allowed := passes(len(data)):
                    writer.write(data[:allowed])
                    await writer.drain()
                if allowed < len(data) and self._fault is not None:
                    fault, self._fault = self._fault[1], None
                    self.cut(fault)
                    await self._moving.wait()
                    if fault is Fault.FREEZE:  # and has thawed
                        writer.write(data[allowed:])
                if self._network.bytes_per_sec is not None:
                    await asyncio.sleep(len(data) / self._network.bytes_per_sec)
        except OSError:
            pass
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
        if not writer.is_closing():
            with suppress(OSError):  # the end of one direction, and not yet of the other
                writer.write_eof()

    def _count(self, length: int) -> int:
        if self._is_half_closed:
            return 0
        if self._fault is not None and self._passed + length > self._fault[0]:
            length = self._fault[0] - self._passed
        self._passed += length
        return length


class Proxy:
    """``targets`` are ``HOST:PORT``. Faults of all connections: ``delay_sec`` in each direction, ``bytes_per_sec``."""

    def __init__(self, *targets: str, health: str | None = None) -> None:
        assert targets
        self.delay_sec = 0.0
        self.bytes_per_sec: float | None = None
        self.links: list[Link] = []
        self.connections = 0  # that reached a target, ever
        self._targets = deque(targets)
        self._health = health
        self._reached = asyncio.Event()
        self._to_hold = 0
        self._held: list[asyncio.Event] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        assert self._server is not None, "the proxy is not open; use `async with`"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.address}/ws"

    def cut(self, fault: Fault = Fault.RESET, *, after_bytes: int = 0) -> int:
        """Cut every connection there is; how many these were."""
        links = [link for link in self.links if link.is_open]
        for link in links:
            link.cut(fault, after_bytes=after_bytes)
        return len(links)

    async def connection(self) -> Link:
        """One that is open; waits until there is."""
        while not (links := [link for link in self.links if link.is_open]):
            self._reached.clear()
            await self._reached.wait()
        return links[-1]

    def hold_connects(self, count: int = 1) -> None:
        """The next connects are held back until a later one has been answered: they arrive in another order."""
        self._to_hold += count

    def answered(self, length: int) -> int:
        """A server has sent something: who was held back comes now."""
        while self._held:
            self._held.pop().set()
        return length

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=CHUNK_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = None
        try:
            if self._to_hold:
                self._to_hold -= 1
                turn = asyncio.Event()
                self._held.append(turn)
                await turn.wait()
            reached = await self._reach()
            if reached is not None:
                server_reader, server_writer = reached
                link = Link(self, writer, server_writer)
                self.links.append(link)
                self.connections += 1
                self._reached.set()
                await link.carry(reader, server_reader)
        except asyncio.CancelledError:
            pass  # the proxy closes; asyncio's own callback would log it as an error
        finally:
            self._tasks.discard(task)
            if link is not None:
                link.cut(Fault.RESET)
                link.ended.set()
                self.links.remove(link)
            _end(writer, with_reset=True)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the next target that takes one."""
        for _ in range(len(self._targets)):
            target = self._targets[0]
            self._targets.rotate(-1)
            host, _, port = target.rpartition(":")
            with suppress(OSError):
                if self._health is None or await _is_healthy(host, int(port), self._health):
                    return await asyncio.open_connection(host, int(port), limit=CHUNK_BYTES)
        return None


async def _is_healthy(host: str, port: int, path: str) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(HEALTH_SEC):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                _end(writer, with_reset=False)
    return False


def _end(writer: asyncio.StreamWriter, *, with_reset: bool) -> None:
    if writer.is_closing():
        return
    if with_reset:
        connection = writer.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
