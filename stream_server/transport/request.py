"""The outermost layer of the app: every request and every WebSocket gets an id, which its answer, its log records and
its span carry, and is counted by its route. A plain ASGI layer: bodies are streamed through. It knows no route.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_server.jobs.error import Reason
from stream_server.log import log_context
from stream_server.metrics import Metrics
from stream_server.tracing import Span, span

logger = logging.getLogger(__name__)

CLIENT_GONE: Final = 499
"""Status of an answer that nobody is there to read; it stands in no document, for nobody sees it."""

NO_ROUTE: Final = "none"
"""The route of a request for which there is none: whatever was asked for, it is one."""

_SWITCHED: Final = 101
_STARTS: Final = ("http.response.start", "websocket.http.response.start")


@dataclass(slots=True)
class _Answer:
    """What came of a request so far; ``seconds`` is set when it is all there."""

    status: int = CLIENT_GONE
    seconds: float | None = None
    has_begun: bool = False


class RequestLayer:
    """Wraps an app whose state has a service."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        method: str = scope.get("method", "GET")
        answer, started = _Answer(), time.monotonic()

        async def reply(message: Message) -> None:
            if message["type"] in _STARTS:
                answer.status, answer.has_begun = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            elif message["type"] == "websocket.accept":
                answer.status, answer.has_begun = _SWITCHED, True
            await send(message)
            if message["type"].endswith("response.body") and not message.get("more_body", False):
                answer.seconds = time.monotonic() - started

        metrics: Metrics = scope["app"].state.service.metrics
        headers = {name: value for name, value in Headers(scope=scope).items() if name in ("traceparent", "tracestate")}
        with log_context(request_id=request_id), span(method, caller=headers, request_id=request_id) as traced:
            is_http = scope["type"] == "http"
            if is_http:
                metrics.requests.open.inc()
            try:
                await self._app(scope, receive, reply)
            except Exception as error:
                traced.fail(type(error).__name__)
                logger.exception("the request failed")
                count_error(HTTPConnection(scope), "server", Reason.INTERNAL)
                if answer.has_begun or not is_http:
                    raise
                await _apologize(request_id, reply)
            finally:
                if is_http:
                    metrics.requests.open.dec()
                seconds = round(time.monotonic() - started, 3)
                self._record(scope, method, answer, seconds, traced, metrics)

    def _record(
        self, scope: Scope, method: str, answer: _Answer, seconds: float, traced: Span, metrics: Metrics
    ) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        traced.rename(f"{method} {route}")
        traced.set(**{"http.request.method": method, "http.route": route, "http.response.status_code": answer.status})
        if answer.status >= 500:
            traced.fail(f"HTTP {answer.status}")
        if answer.status != _SWITCHED:
            metrics.requests.answered(method, route, answer.status, answer.seconds or seconds)
        about: dict[str, object] = {"method": method, "route": route, "status": answer.status, "seconds": seconds}
        if code := scope["state"].get("error_code"):
            about["code"] = code
        if origin := scope["state"].get("refused_origin"):
            about["origin"] = origin
        # An error says its id to the caller: so there is a record of each. Of the others there are too many.
        level = logging.INFO if answer.status >= 400 else logging.DEBUG
        logger.log(level, "request answered" if answer.status < 400 else "request refused", extra=about)


def count_error(request: HTTPConnection, surface: str, code: str) -> None:
    """The caller of this request is told of an error. ``surface``: whose API it used."""
    request.app.state.service.metrics.live.error(surface, code)
    request.state.error_code = str(code)


def surface_of(request: HTTPConnection) -> str:
    """Whose API a request uses: the tag of its route."""
    return _surface(request.scope.get("route"))


def surfaces_of(routes: Iterable[object]) -> list[str]:
    """All that `surface_of` may say of these routes, and of a request that has none."""
    return sorted({_surface(route) for route in (None, *routes)})


def _surface(route: object) -> str:
    tags = getattr(route, "tags", None)
    return str(tags[0]).lower() if tags else "server"


async def _apologize(request_id: str, send: Send) -> None:
    """For what no other part has caught."""
    message = f"the server is at fault; report request {request_id}"
    body = orjson.dumps({"error": {"code": Reason.INTERNAL, "message": message}})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
