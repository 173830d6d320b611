"""Which web pages may speak to the server: the ``Origin`` header against a list, before any route is asked.

Programs send no ``Origin``, and pass; what they may do is the keys' business, of which nothing is known here. A page
can neither leave the header out nor choose it, and for WebSockets browsers have no other rule than the server's.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from stream_server.metrics.live import LIVE
from stream_server.transport.request import count_error

ANY: Final = "*"

_PORTS: Final = {"http": ":80", "https": ":443"}
_SECURE: Final = ("https", "wss")
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^\s/?#]*@)?([^\s/?#@]+)(?=[/?#\s]|$)", re.IGNORECASE)


def is_allowed(origin: str, *, host: str, is_secure: bool, allowed: Collection[str]) -> bool:
    """Whether a page of this origin may speak to the server.

    Args:
        origin: as the browser says it, such as ``https://app.example.com``; ``null`` is a page without one.
        host: the ``Host`` header of the request. A page of that host is our own.
        is_secure: whether the request came over TLS. Then a page that did not is not our own.
        allowed: other origins, in small letters and without default ports; ``*`` allows every one.
    """
    if ANY in allowed:
        return True
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    if not parts.scheme or not parts.netloc:
        return False
    port = _PORTS.get(parts.scheme, "")
    own = parts.netloc.removesuffix(port)
    if f"{parts.scheme}://{own}" in allowed:
        return True
    if parts.scheme not in _PORTS or (is_secure and parts.scheme != "https"):
        return False
    return own == host.lower().removesuffix(port)


def for_log(origin: str) -> str:
    """The page's host, and no more: programs may put into the header what is a secret of theirs."""
    match = _ORIGIN.match(origin)
    return f"{match[1]}{match[2]}" if match else "null" if origin == "null" else "not an origin"


class OriginGuard:
    """An ASGI layer that answers HTTP 403 to pages of other origins, before a body is read or a socket is opened.

    ``open_to_all``: paths for which it does not matter who asks.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], open_to_all: re.Pattern[str]) -> None:
        self._app = app
        self._allowed = allowed
        self._open_to_all = open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope) if scope["type"] in ("http", "websocket") else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        message = f"pages of {refused!r} may not use this server; its setting allowed_origins names those that may"
        caller = HTTPConnection(scope)
        caller.state.refused_origin = for_log(refused)
        count_error(caller, "server" if scope["type"] == "http" else LIVE, "FORBIDDEN")
        response = JSONResponse({"error": {"code": "FORBIDDEN", "message": message}}, 403, {"Vary": "Origin"})
        if scope["type"] == "http":
            await response(scope, receive, send)
        else:
            await WebSocket(scope, receive, send).send_denial_response(response)

    def _refused(self, scope: Scope) -> str | None:
        """The origin that may not; a request may have several, of which all have to be allowed."""
        if self._open_to_all.fullmatch(scope["path"]):
            return None
        headers = Headers(scope=scope)
        host, is_secure = headers.get("host", ""), scope["scheme"] in _SECURE
        for origin in headers.getlist("origin"):
            if not is_allowed(origin, host=host, is_secure=is_secure, allowed=self._allowed):
                return origin[:200]
        return None
