"""The head of a request, byte for byte: how large it may be, how long it may take, and what is none at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stream_server.transport import head, patience
from stream_server.transport.head import MAX_HEAD_BYTES, MAX_HEADERS
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.wire import PATIENCE, Frame, Wire, handshake, websocket, wire

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running_server(FakeRecognizer()) as running:
        yield running


def request(*lines: str, first: str = "GET /healthz HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: server", *lines, "", ""]).encode("latin-1")


async def is_fine(server: Running) -> None:
    async with wire(server.port) as other:
        await other.send(request())
        assert (await other.answer()).status == 200


TOO_MUCH = {
    "many headers": request(*[f"X-{number}: 1" for number in range(MAX_HEADERS)]),
    "a long header": request("X-Long: " + "x" * MAX_HEAD_BYTES),
    "a long line": request(first=f"GET /healthz?{'x' * MAX_HEAD_BYTES} HTTP/1.1"),
    "long headers": request(*[f"X-{number}: {'x' * 1000}" for number in range(80)]),
    "a handshake with many headers": handshake(*[f"X-{number}: 1" for number in range(MAX_HEADERS)]),
}


@pytest.mark.parametrize("case", TOO_MUCH)
@pytest.mark.parametrize("whole", [True, False], ids=["one piece", "in pieces"])
async def test_too_much_of_a_head(server: Running, case: str, whole: bool) -> None:
    async with wire(server.port) as connection:
        data = TOO_MUCH[case]
        await connection.send(*([data] if whole else [data[at : at + 1000] for at in range(0, len(data), 1000)]))
        answer = await connection.answer()
        assert answer.status == 431
        assert answer.error["code"] == "HEAD_TOO_LARGE"
        assert str(MAX_HEADERS) in answer.error["message"]
        await connection.ends()
    await is_fine(server)


async def test_as_much_of_a_head_as_there_may_be(server: Running) -> None:
    async with wire(server.port) as connection:
        await connection.send(request(*[f"X-{number}: 1" for number in range(MAX_HEADERS - 1)]))
        assert (await connection.answer()).status == 200
        await connection.send(request("X-Long: " + "x" * (MAX_HEAD_BYTES - 100)))
        assert (await connection.answer()).status == 200


async def test_a_head_without_an_end_is_not_kept(server: Running) -> None:
    async with wire(server.port) as connection:
        flood = asyncio.create_task(connection.send(request()[:-2], *[b"X-More: 1\r\n" * 1000] * 10_000))
        assert (await connection.answer()).status == 431
        await connection.ends()
        await flood
    await is_fine(server)


NO_REQUEST = {
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two lengths": request("Content-Length: 1", "Content-Length: 2", first="POST /v1/tokens HTTP/1.1"),
    "a length that is none": request("Content-Length: -1", first="POST /v1/tokens HTTP/1.1"),
    "a line break in a header": b"GET /healthz HTTP/1.1\r\nHost: server\r\nX: a\rb\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost : server\r\n\r\n",
}


@pytest.mark.parametrize("case", NO_REQUEST)
async def test_what_is_no_request(server: Running, case: str) -> None:
    async with wire(server.port) as connection:
        await connection.send(NO_REQUEST[case])
        answer = await connection.answer()
        assert answer.status == 400
        assert answer.error["code"] == "BAD_REQUEST"
        assert answer.error["message"]
        assert await connection.ends() == b""
    await is_fine(server)


async def test_a_body_that_is_none_in_the_middle_of_a_request(server: Running) -> None:
    async with wire(server.port) as connection:
        await connection.send(request("Transfer-Encoding: chunked", first="POST /v1/tokens HTTP/1.1"), b"zzz\r\n")
        assert (await connection.answer()).status in (400, 409)  # whoever is first
        await connection.ends()
    await is_fine(server)


async def test_a_request_that_hides_in_the_body_of_another_is_not_answered(server: Running) -> None:
    """Two lengths are said; a proxy that believes the other one than the server does lets a second request through."""
    hidden = request(first="GET /healthz HTTP/1.1")
    async with wire(server.port) as connection:
        both = ("Content-Length: 5", "Transfer-Encoding: chunked")
        await connection.send(request(*both, first="POST /nowhere HTTP/1.1"), b"0\r\n\r\n", hidden)
        assert (await connection.answer()).status == 400
        assert await connection.ends() == b""


@pytest.mark.parametrize("drips", [True, False], ids=["drips", "silence"])
async def test_a_head_that_does_not_come(server: Running, monkeypatch: pytest.MonkeyPatch, drips: bool) -> None:
    monkeypatch.setattr(head, "HEAD_PATIENCE", 0.5)
    async with wire(server.port) as connection:

        async def drip() -> None:
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: server\r\n")
            while True:
                await connection.send(b"X: 1\r\n")
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip()) if drips else None
        if drips:
            answer = await connection.answer()
            assert (answer.status, answer.error["code"]) == (408, "TIMEOUT")
        assert await connection.ends() == b""
        if dripping is not None:
            dripping.cancel()


async def test_the_second_request_of_a_connection_has_to_come_as_well(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "HEAD_PATIENCE", 0.3)
    async with wire(server.port) as connection:
        await connection.send(request())
        assert (await connection.answer()).status == 200
        await connection.send(b"GET /heal")
        assert (await connection.answer()).status == 408
        assert await connection.ends() == b""


async def test_requests_and_sessions_are_not_hurried(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is for heads: what comes after one has its own."""
    monkeypatch.setattr(head, "HEAD_PATIENCE", 0.2)
    async with websocket(server.port) as session, wire(server.port) as connection:
        await connection.send(request("Content-Length: 100", first="POST /nowhere HTTP/1.1"))
        await asyncio.sleep(0.6)
        await connection.send(b"x" * 100)
        assert (await connection.answer()).status == 404
        await session.send(Frame(1, b'{"dtype":"int16"}'))
        assert (await session.until("ready"))["protocol"]


async def test_an_endless_body_where_none_is_wanted(server: Running) -> None:
    """It is answered at once, and what goes on coming is thrown away."""
    async with wire(server.port) as connection:
        endless = request("Transfer-Encoding: chunked", first="GET /healthz HTTP/1.1")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        flood = asyncio.create_task(connection.send(endless, *[chunk] * 400))
        assert (await connection.answer()).status == 200
        await flood
    await is_fine(server)


async def test_a_body_that_drips_when_its_request_has_been_answered(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "REST_PATIENCE", 0.5)
    async with wire(server.port) as connection:
        await connection.send(request("Content-Length: 1000000", first="POST /nowhere HTTP/1.1"))
        assert (await connection.answer()).status == 404

        async def drip() -> None:
            while True:
                await connection.send(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await connection.ends() == b""
        dripping.cancel()


async def test_an_answer_that_is_not_read(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are sent one behind another, and the answers are left in the socket until it is full."""
    monkeypatch.setattr(patience, "WRITE_PATIENCE", 0.5)
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", server.port))
        narrow.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1)
        connection = Wire(reader, writer)
        await connection.send(*[request(first="GET /openapi.json HTTP/1.1")] * 200)
        open_ones = server.server.server_state.connections
        async with asyncio.timeout(PATIENCE):
            while not any(one.transport.get_write_buffer_size() for one in open_ones):
                await asyncio.sleep(0.01)
            while open_ones:
                await asyncio.sleep(0.05)
        writer.transport.abort()
    await is_fine(server)


@pytest.mark.parametrize("at_once", [True, False], ids=["pipelined", "one after the other"])
async def test_a_session_on_a_connection_that_had_a_request_before(
    server: Running, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """The clocks of the request are not the session's."""
    monkeypatch.setattr(head, "REST_PATIENCE", 0.2)
    monkeypatch.setattr(head, "HEAD_PATIENCE", 0.2)
    async with wire(server.port) as connection:
        await connection.send(request() + handshake() if at_once else request())
        assert (await connection.answer()).status == 200
        if not at_once:
            await connection.send(handshake())
        assert (await connection.answer()).status == 101
        await connection.send(Frame(1, b'{"dtype":"int16"}'))
        await connection.until("ready")
        await asyncio.sleep(0.6)
        await connection.send(Frame(1, b'{"type":"end"}'))
        await connection.until("done")
        assert await connection.closing() == 1000
