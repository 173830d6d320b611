"""The asynchronous client: audio in, events out, and a connection that mends itself. It knows no files or microphones.

Three parts work at once and wait for each other only where they must: the caller puts audio into the backlog, a task
writes the backlog to the connection, and a task reads events into the mailbox. When the connection breaks, the last two
end, a new connection is made, the backlog goes back to what the server has, and they start again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final, Self

from stream_client._backlog import Backlog
from stream_client._mailbox import Mailbox
from stream_client._transport import Connector, Transport, TransportClosed, connect_websocket
from stream_client.error import CONNECTION_FAILED, CONNECTION_LOST, StreamClientError
from stream_client.reconnect import ReconnectPolicy
from stream_protocol import (
    ERROR_TABLE,
    ClientError,
    ErrorCode,
    Event,
    decode_event,
    decode_init,
    decode_message,
    encode_message,
)
from stream_protocol.audio_format import DTYPES, SAMPLE_BYTES
from stream_protocol.events import Ack, Configured, Done, Error, Flushed, Ready

logger = logging.getLogger(__name__)

# Refusals that a later attempt may not meet any more.
_TRANSIENT: Final = (CONNECTION_FAILED, ErrorCode.CAPACITY_FULL, ErrorCode.SERVER_DRAINING, ErrorCode.RATE_LIMITED)
# Close codes that say the same as an error event would have said; resuming would only meet them again.
_FINAL_CLOSES: Final = {rule.close_code: code for code, rule in ERROR_TABLE.items() if code not in _TRANSIENT}
_FRAME_BYTES: Final = 32 * 1024  # longer audio is cut to this, below any server's limit


class StreamClient:
    """One stream of audio to a server, and its captions.

    >>> async with StreamClient("ws://127.0.0.1:8000/ws") as client:
    ...     await client.send(pcm)
    ...     await client.end()
    ...     async for event in client:
    ...         print(event)

    Iteration gives the typed events of ``stream_protocol.events`` (all but ``ready`` and ``ack``, each once, also after
    a reconnection), ends after ``Done``, and raises ``StreamClientError`` where the server or the network ended the
    stream early. One task may iterate, and any number may send.

    Args:
        url: ``ws://`` or ``wss://``, with the path, usually ``/ws``.
        api_key: sent as a bearer token.
        language, sample_rate, dtype, channels: what the audio is. ``dtype`` is one of ``stream_protocol``'s
            (``int16``, ``float32``, ``ulaw``, ``alaw``, ``container``).
        reconnect: how hard to try to resume. A container, and audio with a WAV header, cannot be resumed.
        max_buffer_bytes: audio kept for resuming that the server has not acknowledged.
        max_events: events that may wait to be read; see ``Mailbox``.
        open_timeout: seconds for connecting and for ``ready``.
        ssl_context: for servers with a certificate of their own.
        connect: how to reach the network; for tests.
        init: any other field of the init message (``model``, ``chunk_size_sec``, ``partials``, ``keyterms``, ...).
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        language: str = "auto",
        sample_rate: int = 16_000,
        dtype: str = "int16",
        channels: int = 1,
        reconnect: ReconnectPolicy | None = None,
        max_buffer_bytes: int = 8 * 2**20,
        max_events: int = 10_000,
        open_timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        connect: Connector = connect_websocket,
        **init: Any,
    ) -> None:
        canonical = DTYPES.get(dtype.strip().lower(), "container")
        self._resumable = canonical != "container"
        self._init = {
            "type": "init",
            "language": language,
            "sample_rate": sample_rate,
            "dtype": dtype,
            "channels": channels,
            "acks": self._resumable,
            **init,
        }
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._policy = reconnect or ReconnectPolicy()
        self._open_timeout = open_timeout
        self._ssl_context = ssl_context
        self._connect = connect
        self._backlog = Backlog(SAMPLE_BYTES.get(canonical, 1) * max(channels, 1), max_buffer_bytes)
        self._mailbox = Mailbox(max_events)
        self._work = asyncio.Event()  # the backlog has something to send
        self._room = asyncio.Event()  # and little enough that the caller need not wait
        self._ready: Ready | None = None
        self._last_seq = 0
        self._lost_at: float | None = None  # since when there is no progress
        self._sent_audio = self._ended = False
        self._flushes: dict[int, asyncio.Future[Flushed]] = {}
        self._flush_id = 0
        self._configures: deque[asyncio.Future[Configured]] = deque()
        self._error: StreamClientError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> Ready:
        """What the server answered: session, model, and the settings in force."""
        assert self._ready is not None, "the client is not open; use `async with`"
        return self._ready

    async def __aenter__(self) -> Self:
        """Connect, and wait for ``ready``.

        Raises:
            StreamClientError: refused, unreachable, or a field of the init message is wrong.
        """
        try:
            decode_init(json.dumps(self._init))
        except ClientError as error:
            raise StreamClientError(error.code, error.message) from None
        transport = await self._open({})
        self._task = asyncio.create_task(self._run(transport), name="stream-client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave at once. Call ``end`` and read to the end for everything that was heard."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def send(self, audio: bytes) -> None:
        """Send audio of any length, in the layout declared; a call may split a sample.

        Waits while the server does not keep up, or while a broken connection is resumed.

        Raises:
            StreamClientError: the stream has ended early.
        """
        assert not self._ended, "send() after end()"
        if not self._sent_audio and audio:
            self._sent_audio = True
            self._resumable = self._resumable and not audio.startswith((b"RIFF", b"RF64"))
        for start in range(0, len(audio), _FRAME_BYTES):
            await self._put(bytes(audio[start : start + _FRAME_BYTES]))

    async def flush(self) -> Flushed:
        """Make everything sent so far final, and wait for it. Events go on meanwhile."""
        self._flush_id += 1
        answer: asyncio.Future[Flushed] = asyncio.get_running_loop().create_future()
        self._flushes[self._flush_id] = answer
        await self._put(json.dumps({"type": "flush", "id": self._flush_id}))
        return await answer

    async def configure(self, **fields: Any) -> Configured:
        """Change settings in mid-stream (see ``configure`` in the specification), and wait until they are in force.

        Raises:
            StreamClientError: a field has the wrong type.
        """
        try:
            message = encode_message(decode_message(json.dumps({"type": "configure", **fields})))
        except ClientError as error:
            raise StreamClientError(error.code, error.message) from None
        answer: asyncio.Future[Configured] = asyncio.get_running_loop().create_future()
        self._configures.append(answer)
        await self._put(message)
        return await answer

    async def keepalive(self) -> None:
        """Say that the caller is still there while there is no audio."""
        await self._put('{"type":"keepalive"}')

    async def end(self) -> None:
        """No more audio. Events go on until ``Done``."""
        if not self._ended:
            self._ended = True
            await self._put('{"type":"end"}')

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self._mailbox.get()
        if event is None:
            raise StopAsyncIteration
        return event

    async def _put(self, frame: bytes | str) -> None:
        if self._error is not None:
            raise self._error
        assert self._task is not None, "the client is not open; use `async with`"
        self._backlog.append(frame)
        self._work.set()
        while self._backlog.unsent_bytes > _FRAME_BYTES and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error

    # The connection: one task for its whole life, and one more for writing to each transport.

    async def _run(self, transport: Transport) -> None:
        error: StreamClientError | None = StreamClientError(CONNECTION_LOST, "the client was closed")
        try:
            while not await self._converse(transport):
                transport = await self._resume()
            error = None
        except StreamClientError as reason:
            error = reason
        finally:
            self._finish(error)

    async def _converse(self, transport: Transport) -> bool:
        """Write and read on one connection; True where the stream is over, False where the connection broke."""
        writer = asyncio.create_task(self._write(transport), name="stream-client-write")
        try:
            while True:
                event = decode_event(await transport.receive())
                if event is not None and self._handle(event):
                    return True
        except TransportClosed as closed:
            if closed.code in _FINAL_CLOSES:
                raise StreamClientError(_FINAL_CLOSES[closed.code], str(closed)) from None
            if not self._resumable or self._policy.give_up_sec <= 0:
                raise StreamClientError(CONNECTION_LOST, str(closed)) from None
            logger.warning("connection lost, resuming: %s", closed)
            return False
        except ValueError:
            raise StreamClientError(ErrorCode.PROTOCOL_ERROR, "the server sent a frame that is not JSON") from None
        finally:
            writer.cancel()
            await asyncio.wait((writer,))
            await transport.close()

    async def _write(self, transport: Transport) -> None:
        try:
            while True:
                frame = self._backlog.next_frame()
                if self._backlog.unsent_bytes <= _FRAME_BYTES:
                    self._room.set()
                if frame is None:
                    self._work.clear()
                    await self._work.wait()
                else:
                    await transport.send(frame)
        except TransportClosed:
            pass  # the reader meets it too, and decides

    def _handle(self, event: Event) -> bool:
        """Take in one event; True where it is the last."""
        match event:
            case Ack(received_samples=received):
                self._backlog.forget(received)
                self._lost_at = None
                return False
            case Error(code=code, message=message, retry_after=retry_after):
                raise StreamClientError(code, message, retry_after)
            case Ready():
                return False
        seq = getattr(event, "seq", None)
        if seq is not None:
            if seq <= self._last_seq:
                return False
            self._last_seq = seq
            self._lost_at = None
        match event:
            case Flushed(id=int(number)):
                answer = self._flushes.pop(number, None)
                if answer is None:
                    return False  # asked again after a reconnection, and answered twice
                if not answer.done():
                    answer.set_result(event)
            case Configured() if self._configures:
                waiting = self._configures.popleft()
                if not waiting.done():
                    waiting.set_result(event)
        self._mailbox.put(event)
        return isinstance(event, Done)

    async def _open(self, resume: dict[str, Any]) -> Transport:
        """Connect, introduce ourselves, and wait for ``ready``."""
        try:
            async with asyncio.timeout(self._open_timeout):
                transport = await self._connect(self._url, self._headers, self._ssl_context)
                try:
                    await transport.send(json.dumps(self._init | resume))
                    event = decode_event(await transport.receive())
                except ValueError:
                    event = None
                except BaseException:
                    await transport.close()
                    raise
        except TimeoutError:
            raise StreamClientError(CONNECTION_FAILED, f"no answer from {self._url} in time") from None
        except TransportClosed as closed:
            raise StreamClientError(CONNECTION_FAILED, f"the server closed the connection: {closed}") from None
        if isinstance(event, Error):
            await transport.close()
            raise StreamClientError(event.code, event.message, event.retry_after)
        if not isinstance(event, Ready):
            await transport.close()
            raise StreamClientError(CONNECTION_FAILED, f"{self._url} does not speak this protocol")
        self._ready = event
        return transport

    async def _resume(self) -> Transport:
        """Connect again and take up the session where it broke."""
        ready = self.ready
        session = {
            "session_id": ready.session_id,
            "resume_token": ready.resume_token,
            "last_seq": self._last_seq,
        }
        # A server that breaks the connection again and again, with nothing in between, counts as one loss.
        self._lost_at = self._lost_at or time.monotonic()
        deadline = self._lost_at + self._policy.give_up_sec
        reason = StreamClientError(CONNECTION_LOST, "the connection breaks again and again")
        for wait in self._policy.waits():
            wait = max(wait, reason.retry_after or 0.0)
            if time.monotonic() + wait >= deadline:
                message = f"gave up after {self._policy.give_up_sec:g} s: {reason.message}"
                raise StreamClientError(CONNECTION_LOST, message, reason.retry_after)
            await asyncio.sleep(wait)
            try:
                transport = await self._open(session)
            except StreamClientError as error:
                if error.code not in _TRANSIENT:
                    raise
                reason = error
                continue
            if not self._backlog.rewind(self.ready.received_samples):
                await transport.close()
                raise StreamClientError(
                    CONNECTION_LOST, "the server lacks audio that is no longer buffered; raise max_buffer_bytes"
                )
            return transport
        raise AssertionError("the waits have no end")

    def _finish(self, error: StreamClientError | None) -> None:
        """The stream is over: let go of everyone who waits."""
        self._error = error or StreamClientError(CONNECTION_LOST, "the stream is over")
        self._room.set()
        waiting: list[asyncio.Future[Any]] = [*self._flushes.values(), *self._configures]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(self._error)
                answer.exception()  # its caller may have left; then nobody asks
        self._mailbox.close(error)
