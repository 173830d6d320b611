"""The client for programs without asyncio: the asynchronous one on a loop in a thread of its own, and nothing more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from stream_client.client import StreamClient
from stream_client.result import transcribe
from stream_protocol import Event, Transcript
from stream_protocol.events import Configured, Flushed, Ready

T = TypeVar("T")


class SyncStreamClient:
    """As ``StreamClient``, with calls that block. One thread may send while another iterates.

    >>> with SyncStreamClient("ws://127.0.0.1:8000/ws") as client:
    ...     client.send(pcm)
    ...     client.end()
    ...     for event in client:
    ...         print(event)
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stream-client", daemon=True)
        self._client: StreamClient | None = None

    @property
    def ready(self) -> Ready:
        return self._open_client.ready

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._client = self._call(self._enter())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave at once, and end the thread."""
        if self._thread.is_alive():
            self._call(self._open_client.close())
            self._stop()

    def send(self, audio: bytes) -> None:
        self._call(self._open_client.send(audio))

    def flush(self) -> Flushed:
        return self._call(self._open_client.flush())

    def configure(self, **fields: Any) -> Configured:
        return self._call(self._open_client.configure(**fields))

    def keepalive(self) -> None:
        self._call(self._open_client.keepalive())

    def end(self) -> None:
        self._call(self._open_client.end())

    def __iter__(self) -> Iterator[Event]:
        while (event := self._call(self._next())) is not None:
            yield event

    @property
    def _open_client(self) -> StreamClient:
        assert self._client is not None, "the client is not open; use `with`"
        return self._client

    async def _enter(self) -> StreamClient:
        return await StreamClient(self._url, **self._options).__aenter__()

    async def _next(self) -> Event | None:
        return await anext(self._open_client, None)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def transcribe_sync(url: str, audio: Iterable[bytes], **options: Any) -> Transcript:
    """As ``transcribe``, blocking; not to be called where a loop is running."""
    return asyncio.run(transcribe(url, audio, **options))
