"""The client on a real socket: what it says when there is no way through, and that it mends a real connection."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from stream_client import (
    ReconnectPolicy,
    StreamClient,
    StreamClientError,
    SyncStreamClient,
    transcribe,
    transcribe_sync,
)
from stream_client._transport import _WebSocket, connect_websocket
from stream_protocol.events import Done, FinalSegment
from tests.client.scripted import AUDIO, ScriptedServer


@asynccontextmanager
async def listening(server: ScriptedServer, **options: Any) -> AsyncIterator[int]:
    async def handle(connection: ServerConnection) -> None:
        await server.serve(_WebSocket(connection))  # type: ignore[arg-type]

    async with serve(handle, "127.0.0.1", 0, close_timeout=0.1, **options) as running:
        yield next(iter(running.sockets)).getsockname()[1]


def refusing(status: HTTPStatus, headers: dict[str, str], body: bytes) -> Any:
    def process(connection: ServerConnection, request: Request) -> Response:
        fields = {"Content-Length": str(len(body)), "Connection": "close", **headers}
        return Response(status, status.phrase, Headers(fields), body)

    return process


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "message", "retry_after"),
    [
        (401, {}, b"", "AUTH_FAILED", "missing, wrong, expired or revoked API key", None),
        (503, {"Retry-After": "7"}, b"busy", "CAPACITY_FULL", "the server is full; see retry_after", 7.0),
        (503, {}, b'{"error":{"code":"SERVER_DRAINING","message":"soon"}}', "SERVER_DRAINING", "soon", None),
        (429, {}, b'{"code":"RATE_LIMITED","message":"10 a minute"}', "RATE_LIMITED", "10 a minute", None),
        (404, {}, b"[]", "CONNECTION_FAILED", "there is no WebSocket at", None),
        (500, {}, b"", "CONNECTION_FAILED", "the server answered HTTP 500", None),
    ],
)
async def test_refusals_before_the_upgrade(
    status: int, headers: dict[str, str], body: bytes, code: str, message: str, retry_after: float | None
) -> None:
    refusal = refusing(HTTPStatus(status), headers, body)
    async with listening(ScriptedServer(), process_request=refusal) as port:
        with pytest.raises(StreamClientError) as caught:
            await connect_websocket(f"ws://127.0.0.1:{port}/ws", {})
    assert (caught.value.code, caught.value.retry_after) == (code, retry_after)
    assert caught.value.message.startswith(message)


async def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(StreamClientError, match=f"no server at ws://{host}:{port}/ws: connection refused; is it"):
            await connect_websocket(f"ws://{host}:{port}/ws", {})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1/ws", "is not a WebSocket address"),
        ("ws://name.invalid/ws", "the host name 'name.invalid' is unknown"),
    ],
)
async def test_addresses_that_cannot_work(url: str, message: str) -> None:
    with pytest.raises(StreamClientError, match=message):
        await connect_websocket(url, {})


async def test_tls_where_there_is_none() -> None:
    async with listening(ScriptedServer()) as port:
        with pytest.raises(StreamClientError, match="check the port, and ws:// or wss://"):
            await connect_websocket(f"wss://127.0.0.1:{port}/ws", {})


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate, and is missing")
async def test_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    await asyncio.to_thread(subprocess.run, command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with listening(ScriptedServer(), ssl=context) as port:
        url = f"wss://localhost:{port}/ws"
        with pytest.raises(StreamClientError, match="the certificate of localhost is not trusted: self-signed"):
            await connect_websocket(url, {})
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        transcript = await transcribe(url, [bytes([1]) * 1000], ssl_context=trusting, **AUDIO)
    assert transcript.text == "s1000"


async def test_a_real_connection_is_resumed() -> None:
    server = ScriptedServer((9, 30))
    audio = bytes(index % 251 for index in range(5000))
    async with listening(server) as port:
        quick = ReconnectPolicy(first_wait_sec=0.001)
        async with StreamClient(f"ws://127.0.0.1:{port}/ws", reconnect=quick, **AUDIO) as client:
            for start in range(0, 5000, 100):
                await client.send(audio[start : start + 100])
            await client.end()
            events = [event async for event in client]
    assert bytes(server.sessions["session-1"].audio) == audio
    assert events == server.sessions["session-1"].log
    assert len(server.inits) == 3


async def test_a_final_close_code_is_not_resumed() -> None:
    server = ScriptedServer()
    async with (
        listening(server, max_size=1000) as port,  # the websockets library closes with 1009 by itself
        StreamClient(f"ws://127.0.0.1:{port}/ws", **AUDIO) as client,
    ):
        await client.send(bytes(5000))
        with pytest.raises(StreamClientError, match="MESSAGE_TOO_LARGE"):
            await anext(client)
    assert len(server.inits) == 1


async def test_the_blocking_client() -> None:
    def work(url: str) -> list[Any]:
        with SyncStreamClient(url, **AUDIO) as client:
            assert client.ready.model == "fake"
            client.send(bytes([2]) * 1500)
            assert client.flush().id == 1
            assert client.configure(words=False).config["words"] is False
            client.end()
            return list(client)

    server = ScriptedServer()
    async with listening(server) as port:
        url = f"ws://127.0.0.1:{port}/ws"
        events = await asyncio.to_thread(work, url)
        transcript = await asyncio.to_thread(transcribe_sync, url, [bytes([3]) * 1000], **AUDIO)
    assert [event.text for event in events if isinstance(event, FinalSegment)] == ["s2000"]
    assert isinstance(events[-1], Done)
    assert transcript.text == "s3000"


def test_the_blocking_client_cleans_up_when_it_cannot_connect() -> None:
    client = SyncStreamClient("ws://127.0.0.1:9/ws")
    with pytest.raises(StreamClientError, match="CONNECTION_FAILED"):
        client.__enter__()
    assert not client._thread.is_alive()
