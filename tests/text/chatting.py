"""A small chat endpoint on this machine: it keeps what it is asked, checks it, and answers what the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

from stream_server.text.chat import ChatClient

KEY = "sk-very-secret"


@dataclass(frozen=True)
class Reply:
    """``content``: the text of the model, or an object that becomes it. ``body``: the whole body instead."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    before: Callable[[], object] = lambda: None


class Endpoint:
    """``requests`` are the bodies it got, ``pauses`` the seconds its client waited in between."""

    def __init__(self, answer: Callable[[dict[str, Any]], Reply]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.pauses: list[float] = []
        self.url = ""

    @property
    def data(self) -> list[dict[str, Any]]:
        """What stood in the first message of the user of each request."""
        return [json.loads(request["messages"][1]["content"]) for request in self.requests]

    def client(self, *, timeout: float = 30.0) -> ChatClient:
        return ChatClient(self.url, "model-1", api_key=KEY, timeout=timeout, pause=self.pauses.append)


def valid(request: dict[str, Any], content: Any) -> bool:
    """Whether an answer has the shape that its request asked for."""
    schema = request["response_format"]["json_schema"]["schema"]
    return jsonschema.Draft202012Validator(schema).is_valid(content)


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Reply]) -> Iterator[Endpoint]:
    """An endpoint that answers each request by ``answer``, in threads of its own."""
    endpoint = Endpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.requests.append(request)
            reply = check(self, request) or endpoint.answer(request)
            reply.before()
            content = reply.content if isinstance(reply.content, str | None) else json.dumps(reply.content)
            body = reply.body
            if body is None:
                body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    def check(handler: Handler, request: dict[str, Any]) -> Reply | None:
        """A refusal of what a strict endpoint would refuse."""
        if handler.path != "/v1/chat/completions" or handler.headers["Authorization"] != f"Bearer {KEY}":
            return Reply(status=404, body=b"no such path or key")
        shape = request["response_format"]["json_schema"]
        jsonschema.Draft202012Validator.check_schema(shape["schema"])
        objects = [shape["schema"], *shape["schema"].get("$defs", {}).values()]
        strict = all(
            part.get("additionalProperties") is False and sorted(part["required"]) == sorted(part["properties"])
            for part in objects
            if part.get("type") == "object"
        )
        fine = strict and shape["strict"] and request["model"] == "model-1" and shape["name"].isidentifier()
        return None if fine else Reply(status=400, body=b"not a strict schema")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
