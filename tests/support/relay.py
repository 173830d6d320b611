"""Stands between us and an HTTP server, and does what bad servers and bad networks do."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mood = Literal["well", "slow", "failing", "hanging up"]

SLOW_SEC = 0.5


class Relay:
    """Passes requests on to a port of this machine. ``mood`` may be changed at any time; ``asked`` counts requests."""

    def __init__(self, target: int) -> None:
        self.mood: Mood = "well"
        self.asked = 0
        handler = type("RelayRequest", (_Request,), {"relay": self, "target": target})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    relay: Relay
    target: int

    def _pass_on(self) -> None:
        self.relay.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.relay.mood == "hanging up":
            self.close_connection = True
            return
        if self.relay.mood == "failing":
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.relay.mood == "slow":
            time.sleep(SLOW_SEC)
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_relay(target: int) -> Iterator[Relay]:
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
