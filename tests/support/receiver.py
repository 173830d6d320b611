"""A small web server of this machine: serves files, and takes callbacks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson


@dataclass(frozen=True)
class Callback:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def values(self) -> dict[str, object]:
        values: dict[str, object] = orjson.loads(self.body)
        return values


@dataclass
class Receiver:
    """``answer`` gives the status for a callback; ``files`` are served by their path."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    callbacks: list[Callback] = field(default_factory=list)
    answer: Callable[[Callback], int] = lambda callback: 200
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, condition: Callable[[list[Callback]], bool], timeout: float = 60.0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.callbacks), timeout), self.callbacks


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = receiver.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed in the middle: nobody has been called
                return
            callback = Callback(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            with receiver.changed:
                receiver.callbacks.append(callback)
                receiver.changed.notify_all()
            self.send_response(receiver.answer(callback))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
