"""uvicorn's WebSocket protocol, with what it lacks for callers who misbehave.

A request that is no handshake is answered, and its socket closed, instead of being left open. A message that is too
large, or not what WebSocket allows, gets our ``error`` event before the close, and the socket is drained for a moment
before it is shut, because a reset would take the error away from the caller before it was read. A caller who does not
read is cut off: a close would wait for ever behind what it leaves unread; until then its last pings wait for an answer,
and no others. Fragments are joined as they come, so that what a message takes is bounded by its length and not by their
number. One who sends is alive, even where its pong is late.
"""

from __future__ import annotations

from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response

from stream_protocol.codec import encode_event
from stream_protocol.errors import ErrorCode
from stream_protocol.events import Error
from stream_server.transport.patience import WritePatience

LINGER = 2.0
"""Seconds for which what a caller still sends is read and thrown away."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """One connection; used by uvicorn through ``Config(ws=StreamProtocol)``."""

    _heard_at = 0.0
    _pong = b""
    """What waits to be said to a caller who does not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = WritePatience()
        self._message = bytearray()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake(self.conn.handshake_exc)

    def _refuse_handshake(self, problem: Exception) -> None:
        """The head is not one that the handshake allows; uvicorn would wait for more of it."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        answer = b"".join(self.conn.data_to_send())
        if not answer:
            body = f"Failed to open a WebSocket connection: {problem.__cause__ or problem}.\n".encode()
            headers = Headers({"Connection": "close", "Content-Length": str(len(body)), "Content-Type": "text/plain"})
            answer = Response(400, "Bad Request", headers, body).serialize()
        self.transport.write(answer)
        self.transport.close()

    def handle_ping(self) -> None:
        answers = b"".join(self.conn.data_to_send())  # to all pings that came in one piece; the others find none
        if answers:
            self._pong = answers
        if self.writable.is_set():
            self._answer_ping()

    def _answer_ping(self) -> None:
        """RFC 6455, 5.5.3: of several pings only the last one has to be answered."""
        self.transport.write(self._pong)
        self._pong = b""

    def handle_cont(self, event: Frame) -> None:
        self._message = self._message or bytearray(self.frames[0])
        self._message += event.data
        if event.fin:
            self.frames = [bytes(self._message)]
            self._message.clear()
            self.send_receive_event_to_app()

    def keepalive_timeout(self) -> None:
        # A pong waits behind the audio that was sent before it, and how fast that is read is up to us.
        if self.read_paused or self._heard_at > self.ping_sent_at:
            self.stop_keepalive()
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # a refusal is an answer; uvicorn would log it as an error of ours

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.start(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.stop()
        if self._pong and not self.close_sent:
            self._answer_ping()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._patience.stop()

    def handle_parser_exception(self) -> None:
        if self.close_sent:  # more of what is being thrown away
            return
        close = self.conn.close_sent
        assert close is not None
        if close.code == CloseCode.MESSAGE_TOO_BIG:
            message = f"a message may hold {self.config.ws_max_size} bytes; send audio in smaller frames"
            error = Error(ErrorCode.MESSAGE_TOO_LARGE, message)
        else:
            error = Error(
                ErrorCode.PROTOCOL_ERROR, f"frames must be valid, and text UTF-8: {close.reason or close.code}"
            )
        gone = {"type": "websocket.disconnect", "code": close.code, "reason": close.reason, "error": error.code}
        self.queue.put_nowait(gone)  # type: ignore[arg-type]  # a key more than ASGI has
        self.transport.write(Frame(Opcode.TEXT, encode_event(error).encode()).serialize(mask=False))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        self.transport.resume_reading()
        self.loop.call_later(LINGER, self.transport.close)
