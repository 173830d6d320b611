"""uvicorn's WebSocket protocol, with two things added for callers who break a rule of the wire.

A message that is too large gets our ``error`` event before the close, and the socket is drained for a moment before it
is shut, because a reset would take the error away from the caller before it was read.
"""

from __future__ import annotations

from typing import cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode

from stream_protocol.codec import encode_event
from stream_protocol.errors import ErrorCode
from stream_protocol.events import Error

LINGER = 2.0
"""Seconds for which what a caller still sends is read and thrown away."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """One connection; used by uvicorn through ``Config(ws=StreamProtocol)``."""

    def handle_parser_exception(self) -> None:
        if self.close_sent:  # more of what is being thrown away
            return
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        if close.code == CloseCode.MESSAGE_TOO_BIG:
            message = f"a message may hold {self.config.ws_max_size} bytes; send audio in smaller frames"
            error = Error(ErrorCode.MESSAGE_TOO_LARGE, message)
            self.transport.write(Frame(Opcode.TEXT, encode_event(error).encode()).serialize(mask=False))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        cast("object", self.transport.resume_reading())
        self.loop.call_later(LINGER, self.transport.close)
