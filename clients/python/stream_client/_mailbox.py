"""Events between the connection and the caller who reads them. It does not know where they come from."""

from __future__ import annotations

import asyncio
from collections import deque

from stream_client.error import EVENTS_NOT_READ, StreamClientError
from stream_protocol.events import Event, Partial


class Mailbox:
    """A bounded queue that never makes its writer wait.

    A writer that waited would stop reading the socket, the server would then stop reading our audio, and a caller who
    sends first and reads later would wait for ever. Instead, a caller who lags by ``limit`` events loses the partials
    among them (finals say the same, later), and one who lags by that many others gets an error.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._error: StreamClientError | None = None

    def put(self, event: Event) -> None:
        """Add an event.

        Raises:
            StreamClientError: ``EVENTS_NOT_READ``.
        """
        if len(self._events) >= self._limit:
            self._events = deque(waiting for waiting in self._events if not isinstance(waiting, Partial))
            if len(self._events) >= self._limit:
                raise StreamClientError(EVENTS_NOT_READ, f"{self._limit} events wait to be read; iterate the client")
        self._events.append(event)
        self._changed.set()

    def close(self, error: StreamClientError | None = None) -> None:
        """Nothing more comes. Readers get what is here, and then the error or the end."""
        self._closed = True
        self._error = error
        self._changed.set()

    async def get(self) -> Event | None:
        """The next event, None at the end. Raises the error that the mailbox was closed with."""
        while not self._events:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()
