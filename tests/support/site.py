"""A small web server on this machine that does what a test says, well or badly."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = ("127.0.0.0/8",)
"""For the setting ``allowed_hosts``."""


class Request(BaseHTTPRequestHandler):
    """One request; the answers below are functions of it."""

    site: Site

    def do_GET(self) -> None:
        self.site.asked.append((self.path, self.headers.get("Range")))
        self.site.hosts.append(self.headers.get("Host", ""))
        self.site.sent.setdefault(self.path, 0)
        answer = self.site.pages.get(self.path)
        if answer is None:
            self.send_error(404)
            return
        try:
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_GET

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def give(self, content: bytes) -> None:
        self.wfile.write(content)
        self.site.sent[self.path] += len(content)

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Request], None]


class Site:
    """``pages``: by path. ``asked``: path and Range header of every request, ``hosts`` its Host; ``sent``: bytes of
    content, by path."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.hosts: list[str] = []
        self.sent: dict[str, int] = {}
        self.closing = threading.Event()
        """Set at the end, so that an answer without end ends."""
        handler = type("SiteRequest", (Request,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running_site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve until the block ends; ``tls`` makes it HTTPS."""
    site = Site(tls)
    thread = threading.Thread(target=site.serve)
    thread.start()
    try:
        yield site
    finally:
        site.close()
        thread.join()


def content(body: bytes, kind: str = "audio/wav", **headers: str) -> Answer:
    """All of it, whatever is asked for."""

    def answer(request: Request) -> None:
        request.begin(Content_Type=kind, Content_Length=str(len(body)), **headers)
        request.give(body)

    return answer


def ranged(body: bytes, kind: str = "audio/wav") -> Answer:
    """The range that is asked for."""

    def answer(request: Request) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None:
            content(body, kind)(request)
            return
        first, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
        if first >= len(body):
            request.begin(416, Content_Range=f"bytes */{len(body)}", Content_Length="0")
            return
        piece = body[first : last + 1]
        request.begin(
            206,
            Content_Type=kind,
            Content_Length=str(len(piece)),
            Content_Range=f"bytes {first}-{last}/{len(body)}",
        )
        request.give(piece)

    return answer


def redirect(target: str) -> Answer:
    return lambda request: request.begin(302, Location=target, Content_Length="0")


def endless(piece: bytes, pause: float, **headers: str) -> Answer:
    """Pieces for ever, with seconds between them, and no length."""

    def answer(request: Request) -> None:
        request.begin(**headers)
        while not request.site.closing.wait(pause):
            request.give(piece)

    return answer
