"""A real server on a free port of this machine, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_server.engine.recognizer import Recognizer
from stream_server.server import Server, create_server
from stream_server.settings import Settings
from stream_server.transport.service import Service
from stream_server.transport.voice import Voices


@dataclass(frozen=True)
class Running:
    server: Server
    service: Service
    port: int

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def running_server(
    recognizer: Recognizer | None = None, voices: Callable[[], Voices] | None = None, **overrides: Any
) -> AsyncIterator[Running]:
    """Serve until the block ends; settings come from ``overrides`` alone, not from the environment.

    Without jobs, unless ``job_worker`` and ``data_dir`` are given. ``voices``: as in `create_app`.
    """
    settings = Settings.load(
        {}, **{"port": 0, "data_dir": Path("does-not-exist"), "job_worker": "off", "admission": "fixed", **overrides}
    )
    server = create_server(settings, recognizer, voices)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), "the server did not start"
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(server, server.app.state.service, port)
    finally:
        server.should_exit = True
        await serving
