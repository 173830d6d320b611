"""The seam to the network: frames out, text in. It does not know what the frames mean.

``connect_websocket`` is the real one. ``memory_pair`` joins a client to a scripted peer in the same process.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from stream_client.error import CONNECTION_FAILED, StreamClientError
from stream_protocol import ERROR_TABLE, ErrorCode

T = TypeVar("T")

MAX_EVENT_BYTES: Final = 16 * 2**20  # the transcript of a day of speech is one frame
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class TransportClosed(Exception):  # noqa: N818 - an ordinary end, named as websockets names it
    """The other side is gone. ``code`` is the close code, 1006 where there was none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason or 'the connection broke'} ({code})")
        self.code = code


class Transport(Protocol):
    """One open connection."""

    async def send(self, frame: bytes | str) -> None:
        """Send a frame; waits while the peer does not read. Raises ``TransportClosed``."""

    async def receive(self) -> str | bytes:
        """The next frame. Raises ``TransportClosed``."""

    async def close(self, code: int = 1000) -> None:
        """Hang up. A server takes 1000 for a client who will not come back to its session."""


Connector = Callable[[str, Mapping[str, str], ssl.SSLContext | None], Awaitable[Transport]]
"""URL, headers and TLS settings in, open transport out. Raises ``StreamClientError``."""


class _WebSocket:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, frame: bytes | str) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def close(self, code: int = 1000) -> None:
        await self._socket.close(code)


async def connect_websocket(
    url: str, headers: Mapping[str, str], ssl_context: ssl.SSLContext | None = None
) -> Transport:
    """Open a WebSocket, and say in words why it cannot be opened.

    Raises:
        StreamClientError: ``CONNECTION_FAILED``, or the protocol's code for the HTTP status of a refusal.
    """
    host = urlsplit(url).hostname
    tls: dict[str, Any] = {"ssl": ssl_context} if ssl_context is not None and url.startswith("wss:") else {}
    try:
        return _WebSocket(
            await connect(
                url,
                additional_headers=headers,
                compression=None,  # audio does not compress, and events are small
                proxy=None if host in _LOOPBACK else True,
                max_size=MAX_EVENT_BYTES,
                close_timeout=2,
                **tls,
            )
        )
    except InvalidStatus as error:
        response = error.response
        raise refusal(response.status_code, response.headers.get("Retry-After"), bytes(response.body), url) from None
    except InvalidURI:
        raise _failed(f"{url!r} is not a WebSocket address; it looks like ws://HOST:PORT/ws") from None
    except ssl.SSLCertVerificationError as error:
        raise _failed(f"the certificate of {host} is not trusted: {error.verify_message}") from None
    except ssl.SSLError:
        raise _failed(f"{host} does not speak TLS on this port; try ws:// instead of wss://") from None
    except InvalidHandshake:
        raise _failed(f"what answers at {url} is not a WebSocket server; check the port, and ws:// or wss://") from None
    except socket.gaierror:
        raise _failed(f"the host name {host!r} is unknown") from None
    except TimeoutError:
        raise _failed(f"no answer from {url} in time") from None
    except OSError as error:
        # A name with several addresses gives one error for all of them, in which only the text tells what happened.
        refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)
        reason = str(error) or "it hung up at once; check the port, and ws:// or wss://"
        raise _failed(f"no server at {url}: {'connection refused; is it running?' if refused else reason}") from None


# What a server may say before there is a connection to say it on.
_REFUSALS: Final = {
    ERROR_TABLE[code].http_status: code
    for code in (ErrorCode.AUTH_FAILED, ErrorCode.RATE_LIMITED, ErrorCode.CAPACITY_FULL)
}


def refusal(status: int, retry_after: str | None, body: bytes, url: str) -> StreamClientError:
    """The error for an HTTP answer in place of an upgrade; the server's own code and message win over the status."""
    code: str = _REFUSALS.get(status, CONNECTION_FAILED)
    message = f"the server answered HTTP {status} at {url}"
    if status in _REFUSALS:
        message = ERROR_TABLE[_REFUSALS[status]].meaning
    elif status == HTTPStatus.NOT_FOUND:
        message = f"there is no WebSocket at {url}; the path is usually /ws"
    try:
        said = json.loads(body or b"{}")
    except ValueError:
        said = {}
    said = said.get("error", said) if isinstance(said, dict) else {}
    if isinstance(said, dict):
        code = said["code"] if said.get("code") in set(ErrorCode) else code
        message = said["message"] if isinstance(said.get("message"), str) else message
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return StreamClientError(code, message, seconds)


def _failed(message: str) -> StreamClientError:
    return StreamClientError(CONNECTION_FAILED, message)


def _closed(error: ConnectionClosed) -> TransportClosed:
    frame = error.rcvd
    return TransportClosed(1006, "") if frame is None else TransportClosed(frame.code, frame.reason)


class MemoryTransport:
    """One end of a connection without a network. Each direction holds a few frames, then the sender waits."""

    def __init__(self, incoming: asyncio.Queue[str | bytes], outgoing: asyncio.Queue[str | bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.peer = self

    async def send(self, frame: bytes | str) -> None:
        await self._unless_closed(self._outgoing.put(frame))

    async def receive(self) -> str | bytes:
        if not self._incoming.empty():  # what was sent before a close still arrives
            return self._incoming.get_nowait()
        return await self._unless_closed(self._incoming.get())

    async def close(self, code: int = 1000) -> None:
        for end in (self, self.peer):
            if not end._closed.done():
                end._closed.set_result(code)

    async def _unless_closed(self, operation: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(operation)
        try:
            if not self._closed.done():
                await asyncio.wait((task, self._closed), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise TransportClosed(self._closed.result(), "")
        finally:
            task.cancel()


def memory_pair(limit: int = 16) -> tuple[MemoryTransport, MemoryTransport]:
    """Two joined ends; each direction holds ``limit`` frames."""
    up: asyncio.Queue[str | bytes] = asyncio.Queue(limit)
    down: asyncio.Queue[str | bytes] = asyncio.Queue(limit)
    near, far = MemoryTransport(down, up), MemoryTransport(up, down)
    near.peer, far.peer = far, near
    return near, far
