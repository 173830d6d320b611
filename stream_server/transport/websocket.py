"""``/ws``: one connection from the handshake to the close.

What can be refused before the upgrade is (HTTP 401, 503); the rest is an ``error`` event and a close. One task reads,
one writes; the session between them is never waited for with a lock.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from functools import partial

import orjson
from fastapi import APIRouter, Response, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from stream_protocol.codec import decode_init, encode_event
from stream_protocol.errors import ERROR_TABLE, ClientError, ErrorCode, ServerError, StreamError
from stream_protocol.messages import Init
from stream_server.auth import Caller, Scope, key_of_header
from stream_server.jobs.error import JobError, Reason
from stream_server.log import log_context
from stream_server.metrics.live import LIVE
from stream_server.negotiation import ignored_fields, negotiate
from stream_server.quota import Admission, Quota
from stream_server.session import internal_error
from stream_server.transport.live import LiveSession, error_event
from stream_server.transport.outbox import Outbox
from stream_server.transport.request import count_error
from stream_server.transport.service import Service

logger = logging.getLogger(__name__)
router = APIRouter()

GONE_ON_PURPOSE = (1000, 1001)
"""Close codes of a client that will not come back to its session."""

LAST_WORDS = 1.0
"""Seconds for which a client that does not read may still be told so."""


@router.websocket("/ws")
async def stream(websocket: WebSocket) -> None:
    """Live audio in, speech events out: see protocol/README.md."""
    service: Service = websocket.app.state.service
    key = key_of_header(websocket.headers.get("authorization"))
    try:
        caller = None if key is None else _with_scope(await service.keys.authenticate(key))
        service.registry.check_admission(websocket.query_params.get("session_id"))
        service.limit.arrive()
    except StreamError as error:
        count_error(websocket, LIVE, error.code)
        await websocket.send_denial_response(denial(error))
        return
    connection = _Connection(websocket, service, caller)
    service.metrics.live.connections.inc()
    try:
        await websocket.accept()
        await connection.run()
    except WebSocketDisconnect:
        pass
    finally:
        service.metrics.live.connections.dec()
        connection.settle()


def denial(error: StreamError) -> Response:
    """An error as an HTTP response, for a refused upgrade."""
    headers = {"Retry-After": str(math.ceil(error.retry_after))} if error.retry_after else {}
    if error.code is ErrorCode.AUTH_FAILED:
        headers["WWW-Authenticate"] = "Bearer"
    body = orjson.dumps({"error": {"code": error.code, "message": error.message}})
    return Response(body, error.rule.http_status, headers, media_type="application/json")


class _Connection:
    """One accepted socket. ``caller``: known by a header already."""

    def __init__(self, websocket: WebSocket, service: Service, caller: Caller | None) -> None:
        self._websocket = websocket
        self._service = service
        self._caller = caller
        self._is_arriving = True

    def settle(self) -> None:
        """It is known what the connection came for. Idempotent."""
        if self._is_arriving:
            self._is_arriving = False
            self._service.limit.settle()

    async def run(self) -> None:
        outbox = Outbox(self._service.settings.max_unsent_events)
        try:
            live = await self._open(outbox)
        except StreamError as error:
            self.settle()
            await self._refuse(error)
            return
        except WebSocketDisconnect:
            raise
        except Exception:
            logger.exception("a connection failed before it had a session")
            self.settle()
            await self._refuse(ServerError(ErrorCode.INTERNAL_ERROR, "internal error; please report it"))
            return
        self.settle()
        with log_context(session_id=live.session.id):
            await self._converse(live, outbox)

    async def _converse(self, live: LiveSession, outbox: Outbox) -> None:
        writer = asyncio.create_task(self._write(live, outbox))
        reader = asyncio.create_task(self._read(live, outbox))
        overflow = asyncio.create_task(outbox.overflowed.wait())
        try:
            await asyncio.wait((reader, writer, overflow), return_when=asyncio.FIRST_COMPLETED)
            if overflow.done():  # the writer can say why, unless the socket takes nothing any more
                logger.warning("the client does not read its events")
                self._service.metrics.live.slow_readers.inc()
                await asyncio.wait((writer,), timeout=LAST_WORDS)
            if (fault := _fault(reader, WebSocketDisconnect)) is not None:
                if live.is_attached_to(outbox):
                    live.break_off(fault)
                else:
                    logger.error("a connection failed that had been replaced", exc_info=fault)
                await asyncio.wait((writer,), timeout=LAST_WORDS)
            # uvicorn raises RuntimeError where the protocol has closed the socket. The session can be resumed.
            if (fault := _fault(writer, WebSocketDisconnect, RuntimeError)) is not None:
                logger.error("events cannot be written", exc_info=fault)
                await self._refuse(internal_error(live.session.id))
            gone = reader.done() and (self._gone_on_purpose(reader) or not live.session.is_resumable)
            if gone and live.is_attached_to(outbox) and not live.closed.is_set():
                self._service.registry.forget(live)
        finally:
            for task in (reader, writer, overflow):
                task.cancel()
            await asyncio.gather(reader, writer, overflow, return_exceptions=True)
            live.detach(outbox)

    async def _open(self, outbox: Outbox) -> LiveSession:
        """Read the init message and find or make its session.

        Raises:
            StreamError: what stands in the way.
        """
        service = self._service
        init = await self._read_init()
        caller = self._caller or await self._authenticate(init)
        if init.session_id is not None or init.resume_token is not None:
            live = service.registry.find(init.session_id, init.resume_token)
            live.attach(outbox, last_seq=init.last_seq)
            service.metrics.live.resumed.inc()
            logger.info("session resumed", extra={"session_id": live.session.id})
            return live
        config = negotiate(
            init,
            service.engine.info,
            service.vads,
            aliases=service.settings.model_aliases,
            no_diarization=service.registry.no_diarization,
        )
        admission = await _admit(service.quota, caller)
        try:
            live = service.registry.create(
                config, caller.id or None, on_ended=partial(_account, service.quota, caller, admission)
            )
        except BaseException:
            admission.leave()
            raise
        live.attach(outbox, ignored=ignored_fields(init, service.engine.info))
        return live

    async def _authenticate(self, init: Init) -> Caller:
        token = self._websocket.query_params.get("token")
        return _with_scope(await self._service.keys.authenticate(token or init.api_key, token_only=bool(token)))

    async def _read_init(self) -> Init:
        timeout = self._service.settings.init_timeout
        try:
            async with asyncio.timeout(timeout):
                message = await self._receive()
        except TimeoutError:
            raise ClientError(ErrorCode.TIMEOUT, f"no init message within {timeout:g} s") from None
        if isinstance(message, bytes):
            raise ClientError(ErrorCode.PROTOCOL_ERROR, "audio came before the init message; send init first")
        return decode_init(message)

    async def _read(self, live: LiveSession, outbox: Outbox) -> None:
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                await live.receive_bytes(message, outbox)
            else:
                await live.receive_text(message, outbox)
            await asyncio.sleep(0)  # many may have come at once: let the writer, and the others, have their turn

    async def _write(self, live: LiveSession, outbox: Outbox) -> None:
        """Write until there is no more, then close the socket."""
        while (item := await outbox.get()) is not None:
            await self._websocket.send_text(item.text)
        if outbox.overflowed.is_set():
            with suppress(TimeoutError):  # its socket is full; `StreamProtocol` cuts it off
                async with asyncio.timeout(1.0):
                    await self._close(ERROR_TABLE[ErrorCode.TIMEOUT].close_code, "events are not being read")
        else:
            await self._close(outbox.close_code or 1000)

    async def _receive(self) -> str | bytes:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            if error := message.get("error"):  # `StreamProtocol` has told the client already
                count_error(self._websocket, LIVE, error)
            raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    async def _refuse(self, error: StreamError) -> None:
        count_error(self._websocket, LIVE, error.code)
        logger.info("refused", extra={"code": error.code})  # the message may quote what was sent
        try:
            await self._websocket.send_text(encode_event(error_event(error)))
            await self._close(error.rule.close_code)
        except (WebSocketDisconnect, RuntimeError):
            logger.debug("the caller left before it could be told: %s", error)

    async def _close(self, code: int, reason: str | None = None) -> None:
        if self._websocket.application_state is not WebSocketState.DISCONNECTED:
            await self._websocket.close(code, reason)

    @staticmethod
    def _gone_on_purpose(reader: asyncio.Task[None]) -> bool:
        error = reader.exception()
        return isinstance(error, WebSocketDisconnect) and error.code in GONE_ON_PURPOSE


def _fault(half: asyncio.Task[None], *expected: type[Exception]) -> Exception | None:
    """What ended this half of a connection, if it is nothing that was to be expected."""
    error = half.exception() if half.done() else None
    return error if isinstance(error, Exception) and not isinstance(error, expected) else None


def _with_scope(caller: Caller) -> Caller:
    """The caller, who may open live sessions.

    Raises:
        ClientError: ``AUTH_FAILED``: it may not.
    """
    if Scope.LIVE not in caller.scopes:
        raise ClientError(ErrorCode.AUTH_FAILED, "this API key is not for live sessions; it lacks the scope live")
    return caller


async def _admit(quota: Quota, caller: Caller) -> Admission:
    """A place for a new session within the caller's limits.

    Raises:
        StreamError: ``RATE_LIMITED``; ``SERVER_DRAINING``, where the limits cannot be looked up.
    """
    try:
        await quota.check_hours(caller)
        return quota.enter(caller)
    except JobError as error:
        if error.reason is Reason.RATE_LIMITED:
            raise ClientError(ErrorCode.RATE_LIMITED, error.message, retry_after=error.retry_after) from None
        raise ServerError(ErrorCode.SERVER_DRAINING, error.message, retry_after=error.retry_after) from None


def _account(quota: Quota, caller: Caller, admission: Admission, live: LiveSession) -> None:
    """A session has ended: what it has heard is its caller's."""
    admission.leave()
    quota.record(caller, live_seconds=live.session.received_sec)
