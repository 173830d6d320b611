"""uvicorn's WebSocket protocol, with what it lacks for callers who misbehave.

A message that is too large, or not what WebSocket allows, gets our ``error`` event before the close, and the socket is
drained for a moment before it is shut, because a reset would take the error away from the caller before it was read. A
caller who does not read is cut off: a close would wait for ever behind what it leaves unread. One who sends is alive,
even where its pong is late.
"""

from __future__ import annotations

import asyncio

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode

from stream_protocol.codec import encode_event
from stream_protocol.errors import ErrorCode
from stream_protocol.events import Error

LINGER = 2.0
"""Seconds for which what a caller still sends is read and thrown away."""

WRITE_PATIENCE = 30.0
"""Seconds that a full socket may stay full."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """One connection; used by uvicorn through ``Config(ws=StreamProtocol)``."""

    _stuck: asyncio.TimerHandle | None = None
    _heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        super().data_received(data)

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
        self._stuck = self.loop.call_later(WRITE_PATIENCE, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def handle_parser_exception(self) -> None:
        if self.close_sent:  # more of what is being thrown away
            return
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        if close.code == CloseCode.MESSAGE_TOO_BIG:
            message = f"a message may hold {self.config.ws_max_size} bytes; send audio in smaller frames"
            error = Error(ErrorCode.MESSAGE_TOO_LARGE, message)
        else:
            error = Error(
                ErrorCode.PROTOCOL_ERROR, f"frames must be valid, and text UTF-8: {close.reason or close.code}"
            )
        self.transport.write(Frame(Opcode.TEXT, encode_event(error).encode()).serialize(mask=False))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        self.transport.resume_reading()
        self.loop.call_later(LINGER, self.transport.close)
