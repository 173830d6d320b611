"""The proxy of the benchmarks: what goes through comes out, and every fault is the one that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.proxy import Fault, Proxy
from tests.support.process import free_port

PATIENCE = 10.0


class Echo:
    """A server that sends back what it gets, behind its name."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.got = b""
        self.ended = asyncio.Event()
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.name.encode())
        try:
            while data := await reader.read(1000):
                self.got += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        self.ended.set()
        writer.close()


@asynccontextmanager
async def echo(name: str = "") -> AsyncIterator[Echo]:
    server = Echo(name)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


async def connect(network: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = network.address.split(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(data))


async def test_everything_goes_through_slowly_and_late() -> None:
    data = bytes(range(256)) * 1000
    async with echo() as server, Proxy(server.address) as network:
        network.delay_sec, network.bytes_per_sec = 0.05, 2e6
        reader, writer = await connect(network)
        start = asyncio.get_running_loop().time()
        assert await exchange(reader, writer, data) == data
        assert asyncio.get_running_loop().time() - start >= 0.1, "a delay in each direction is the least"
        writer.close()
        await asyncio.wait_for(server.ended.wait(), PATIENCE)


async def test_a_reset_is_one_and_a_close_is_one() -> None:
    async with echo() as server, Proxy(server.address) as network:
        reader, writer = await connect(network)
        await exchange(reader, writer, b"here")
        assert network.cut(Fault.RESET) == 1
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        reader, writer = await connect(network)
        await exchange(reader, writer, b"here")
        network.cut(Fault.CLOSE)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()


async def test_a_half_closed_connection_still_answers() -> None:
    async with echo() as server, Proxy(server.address) as network:
        reader, writer = await connect(network)
        await exchange(reader, writer, b"here")
        network.cut(Fault.HALF_CLOSE)
        await asyncio.wait_for(server.ended.wait(), PATIENCE)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"", "the end came from the server, not as a reset"
        writer.close()


async def test_a_cut_in_the_middle_of_what_is_sent() -> None:
    async with echo() as server, Proxy(server.address) as network:
        reader, writer = await connect(network)
        await exchange(reader, writer, b"12345")
        network.cut(Fault.CLOSE, after_bytes=3)
        writer.write(b"67890")
        await asyncio.wait_for(server.ended.wait(), PATIENCE)
        assert server.got == b"12345678"
        writer.close()


async def test_what_is_frozen_arrives_when_it_thaws() -> None:
    async with echo() as server, Proxy(server.address) as network:
        reader, writer = await connect(network)
        await exchange(reader, writer, b"before")
        (link,) = network.links
        link.cut(Fault.FREEZE)
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.1)
        link.thaw()
        assert await asyncio.wait_for(reader.readexactly(4), PATIENCE) == b"late"
        writer.close()


async def test_a_connect_that_is_held_back_arrives_after_a_later_one() -> None:
    async with echo() as server, Proxy(server.address) as network:
        network.hold_connects()
        first_reader, first = await connect(network)
        first.write(b"1")
        await asyncio.sleep(0.05)
        assert network.connections == 0
        second_reader, second = await connect(network)
        assert await exchange(second_reader, second, b"2") == b"2"
        assert await asyncio.wait_for(first_reader.readexactly(1), PATIENCE) == b"1"
        assert server.got == b"21"
        first.close()
        second.close()


async def test_targets_take_turns_and_who_refuses_is_passed_over() -> None:
    async with echo("a") as one, echo("b") as other:
        async with Proxy(one.address, f"127.0.0.1:{free_port()}", other.address) as network:
            names = b""
            for _ in range(4):
                reader, writer = await connect(network)
                names += await asyncio.wait_for(reader.readexactly(1), PATIENCE)
                writer.close()
        assert names == b"abab"
    async with Proxy(f"127.0.0.1:{free_port()}") as network:
        reader, writer = await connect(network)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()


async def test_a_reader_who_stops_makes_its_sender_wait() -> None:
    """Nothing is piled up in between."""
    async with echo() as server, Proxy(server.address) as network:
        _, writer = await connect(network)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                writer.write(bytes(100_000))
                sent += 100_000
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 1.0)
        assert sent < 50_000_000
        writer.transport.abort()
