"""uvicorn's HTTP protocol, with bounds for the head of a request, which comes before anything is known of the caller.

A head may have so many headers and bytes, and take so long; who sends more, or drips, gets an answer that says so
and is cut off. So is a caller who does not read. What a body may hold is the routes' business.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from stream_server.transport.patience import WritePatience

MAX_HEADERS: Final = 100

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of the request line and all headers."""

HEAD_PATIENCE = 10.0
"""Seconds in which a head has to come, from the connection or from its first byte."""

REST_PATIENCE = 60.0
"""Seconds for which the rest of a body is read and thrown away when its request has been answered. Many clients look
for the answer only when they have sent everything."""

_CODES: Final = {408: "TIMEOUT", 431: "HEAD_TOO_LARGE"}


class _Parser(h11.Connection):
    """h11's parser, which by itself bounds only heads that come in pieces, and not the number of headers."""

    problem: h11.RemoteProtocolError | None = None

    def next_event(self) -> Any:
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check(event)
        except h11.RemoteProtocolError as error:
            self.problem = error
            raise
        return event


def _check(request: h11.Request) -> None:
    headers = request.headers.raw_items()
    size = len(request.method) + len(request.target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
        raise h11.RemoteProtocolError("too much of a head", 431)
    if {b"content-length", b"transfer-encoding"} <= {name.lower() for name, _ in headers}:
        # A proxy may believe the other one, and take a part of the body for a request of its own (RFC 9112, 6.1).
        raise h11.RemoteProtocolError("Content-Length and Transfer-Encoding exclude each other")


class HttpProtocol(H11Protocol):
    """One connection; used by uvicorn through ``Config(http=HttpProtocol)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: _Parser = _Parser(h11.SERVER, MAX_HEAD_BYTES)
        self._patience = WritePatience()
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._let_go()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self._let_go()  # the connection is another protocol's from here on

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.start(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.stop()

    def _watch_head(self) -> None:
        """The clock runs while a head is awaited, or what nobody reads; bytes that come do not set it back. Between two
        requests of a connection it is uvicorn's that runs, until the first byte."""
        if self.transport.get_protocol() is not self:
            return
        is_answered = self.cycle is not None and self.cycle.response_complete
        if self.transport.is_closing() or not (self.conn.their_state is h11.IDLE or is_answered):
            self._stop_watching()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            patience = HEAD_PATIENCE if self.conn.their_state is h11.IDLE else REST_PATIENCE
            self._head_timer = self.loop.call_later(patience, self._give_up)

    def _let_go(self) -> None:
        self._stop_watching()
        self._patience.stop()

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:
            self._refuse(408, f"the head of the request did not come within {HEAD_PATIENCE:g} s")
        else:  # browsers open connections that they may never use
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no request; ours says what is wrong."""
        problem = self.conn.problem
        assert problem is not None, msg
        status, message = problem.error_status_hint, str(problem)
        if status == 431:
            message = f"the head of a request may have {MAX_HEADERS} headers, and take {MAX_HEAD_BYTES} bytes"
        self._refuse(status, message)

    def _refuse(self, status: int, message: str) -> None:
        self._stop_watching()
        if self.cycle is not None:  # its route answers no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = orjson.dumps({"error": {"code": _CODES.get(status, "BAD_REQUEST"), "message": message}})
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            response = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
