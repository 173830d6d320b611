"""A real server in a thread of its own, for clients that block and for tests that share one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import httpx2

from stream_server.engine.recognizer import Recognizer
from tests.support.running import Running, running_server


@contextmanager
def hosted_server(recognizer: Recognizer | None = None, **overrides: Any) -> Iterator[Running]:
    """As `tests.support.running.running_server`, but the caller has no event loop, or another one."""
    started: Future[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def host() -> None:
        ending = asyncio.Event()
        async with running_server(recognizer, **overrides) as running:
            started.set_result((running, asyncio.get_running_loop(), ending))
            await ending.wait()

    def run() -> None:
        try:
            asyncio.run(host())
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
                return
            raise

    thread = threading.Thread(target=run, name="hosted-server")
    thread.start()
    try:
        running, loop, ending = started.result(60)
        try:
            yield running
        finally:
            loop.call_soon_threadsafe(ending.set)
    finally:
        thread.join()


def client_of(server: Running, key: str) -> httpx2.Client:
    """A client of the server that speaks with this API key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.Client(base_url=server.http_url, headers=headers, trust_env=False, timeout=60)
