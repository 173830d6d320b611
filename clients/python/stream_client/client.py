"""The asynchronous client: audio in, events out, and a connection that mends itself. It knows no files or microphones.

Three parts work at once and wait for each other only where they must: the caller puts audio into the backlog, a task
writes the backlog to the connection, and a task reads events into the mailbox. When the connection breaks, the last two
end, a new connection is made, the backlog goes back to what the server has, and they start again.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, Self

from stream_client._backlog import Backlog
from stream_client._handshake import Door
from stream_client._mailbox import Mailbox
from stream_client._mending import Mending, error_of
from stream_client._question import Questions
from stream_client._timeline import Timeline
from stream_client._transport import Connector, Transport, TransportClosed, connect_websocket
from stream_client.error import CONNECTION_LOST, StreamClientError
from stream_client.reconnect import ConnectionChange, ReconnectPolicy
from stream_protocol import ClientError, ErrorCode, Event, decode_event, decode_init, decode_message, encode_message
from stream_protocol.audio_format import DTYPES, SAMPLE_BYTES
from stream_protocol.events import Ack, Configured, Done, Error, Flushed, Ready, Warning

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

    A connection that breaks is resumed. Where the session is gone with its server, or was ended because the server
    shuts down, a new one takes over behind the last final, and numbers and times go on. A segment that was open then
    gets no final; what was said in it comes under a new number. Speakers who are told apart by their voices get new
    labels then, as nobody knows which of them is which of those before.

    Args:
        url: ``ws://`` or ``wss://``, with the path, usually ``/ws``.
        api_key: sent as a bearer token.
        language, sample_rate, dtype, channels: what the audio is. ``dtype`` is one of ``stream_protocol``'s
            (``int16``, ``float32``, ``ulaw``, ``alaw``, ``container``).
        reconnect: how hard to try to resume. A container, and audio with a WAV header, cannot be resumed.
        on_connection: told when the connection is lost, and how the stream goes on; must return at once.
        max_buffer_bytes: audio kept that may have to be sent again: about the last seconds, and what is not yet final.
            Where that is more, a break of the connection may end the stream.
        max_events: events that may wait to be read; see ``Mailbox``.
        open_timeout: seconds for connecting and for ``ready``.
        ssl_context: for servers with a certificate of their own.
        connect: how to reach the network; for tests.
        init: any other field of the init message (``model``, ``chunk_size_sec``, ``diarize``, ``keyterms``, ...).
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
        on_connection: Callable[[ConnectionChange], None] | None = None,
        max_buffer_bytes: int = 8 * 2**20,
        max_events: int = 10_000,
        open_timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        connect: Connector = connect_websocket,
        **init: Any,
    ) -> None:
        canonical = DTYPES.get(dtype.strip().lower(), "container")
        is_resumable = canonical != "container"
        self._init = {
            "type": "init",
            "language": language,
            "sample_rate": sample_rate,
            "dtype": dtype,
            "channels": channels,
            "acks": is_resumable,
            **init,
        }
        self._backlog = Backlog(SAMPLE_BYTES.get(canonical, 1) * max(channels, 1), max_buffer_bytes)
        self._mailbox = Mailbox(max_events)
        self._work = asyncio.Event()  # the backlog has something to send
        self._room = asyncio.Event()  # and little enough that the caller need not wait
        self._timeline = Timeline(sample_rate, channels)
        self._questions = Questions(self._backlog)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._mending = Mending(
            Door(url, headers, ssl_context, connect, open_timeout),
            reconnect or ReconnectPolicy(),
            self._init,
            self._backlog,
            self._timeline,
            self._questions,
            on_connection,
            is_resumable=is_resumable,
        )
        self._sent_audio = self._ended = False
        self._error: StreamClientError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> Ready:
        """What the server answered: session, model, and the settings in force."""
        assert self._mending.ready is not None, "the client is not open; use `async with`"
        return self._mending.ready

    async def __aenter__(self) -> Self:
        """Connect, and wait for ``ready``.

        Raises:
            StreamClientError: refused, unreachable, or a field of the init message is wrong.
        """
        try:
            decode_init(json.dumps(self._init))
        except ClientError as error:
            raise StreamClientError(error.code, error.message) from None
        transport = await self._mending.begin()
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
            self._mending.is_resumable &= not audio.startswith((b"RIFF", b"RF64"))
        for start in range(0, len(audio), _FRAME_BYTES):
            await self._put(bytes(audio[start : start + _FRAME_BYTES]))

    async def flush(self) -> Flushed:
        """Make everything sent so far final, and wait for it. Events go on meanwhile."""
        self._check()
        answer = self._questions.flush()
        self._work.set()
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
        self._check()
        answer = self._questions.configure(message)
        self._work.set()
        return await answer

    async def keepalive(self) -> None:
        """Say that the caller is still there while there is no audio."""
        await self._put('{"type":"keepalive"}', is_kept=False)

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

    async def _put(self, frame: bytes | str, *, is_kept: bool = True) -> None:
        self._check()
        self._backlog.append(frame, is_kept=is_kept)
        self._work.set()
        while self._backlog.unsent_bytes > _FRAME_BYTES and self._error is None:
            self._room.clear()
            await self._room.wait()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        assert self._task is not None, "the client is not open; use `async with`"

    # One task for the connection's whole life, and one more for writing to each transport.
    async def _run(self, transport: Transport) -> None:
        error: StreamClientError | None = StreamClientError(CONNECTION_LOST, "the client was closed")
        try:
            while not await self._converse(transport):
                transport = await self._mending.reconnect()
            error = None
        except StreamClientError as reason:
            error = reason
        finally:
            self._finish(error)

    async def _converse(self, transport: Transport) -> bool:
        """Write and read on one connection; True where the stream is over, False where it goes on on another one."""
        writer = asyncio.create_task(self._write(transport), name="stream-client-write")
        try:
            while True:
                event = decode_event(await transport.receive())
                if event is not None and self._handle(event):
                    return True
        except StreamClientError as error:
            self._mending.survive(error)
        except TransportClosed as closed:
            self._mending.survive(error_of(closed))
        except ValueError:
            raise StreamClientError(ErrorCode.PROTOCOL_ERROR, "the server sent a frame that is not JSON") from None
        finally:
            writer.cancel()
            await asyncio.wait((writer,))
            await transport.close()
        return False

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
                self._timeline.receive_ack(received)
                self._questions.heard(self._timeline.position(received))
                self._backlog.forget(self._timeline.needed_from)
                self._mending.progress()
                return False
            case Error(code=code, message=message, retry_after=retry_after):
                raise StreamClientError(code, message, retry_after)
            case Ready():
                return False
        for known in self._timeline.receive(event):
            if not isinstance(known, Warning):  # each new connection is told the last one again
                self._mending.progress()
            match known:
                case Flushed() if not self._questions.flushed(known):
                    continue
                case Configured():
                    self._questions.configured(known)
                    self._work.set()  # the next question may be asked
            self._mailbox.put(known)
        return isinstance(event, Done)

    def _finish(self, error: StreamClientError | None) -> None:
        """The stream is over: let go of everyone who waits."""
        self._error = error or StreamClientError(CONNECTION_LOST, "the stream is over")
        self._room.set()
        self._questions.fail(self._error)
        self._mailbox.close(error)
