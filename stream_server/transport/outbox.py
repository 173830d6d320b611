"""Events on their way to one socket: encoded, in order, and no more than may wait. It knows no session."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An encoded event; ``seq`` is None for those of the connection."""

    seq: int | None
    text: str


class Outbox:
    """What waits to be written to one socket, bounded. ``overflowed`` is set when its reader is too slow."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Outgoing] = deque()
        self._changed = asyncio.Event()
        self.overflowed = asyncio.Event()
        self.close_code: int | None = None

    def put(self, item: Outgoing) -> None:
        if len(self._waiting) >= self._limit:
            self.overflowed.set()
        else:
            self._waiting.append(item)
        self._changed.set()

    def replay(self, items: Sequence[Outgoing]) -> None:
        """Put what a resumed client has missed: bounded by the log, and on top of the room for what is new."""
        self._limit += len(items)
        self._waiting.extend(items)
        self._changed.set()

    def finish(self, close_code: int) -> None:
        """Close the socket with this code once everything is written."""
        if self.close_code is None:
            self.close_code = close_code
            self._changed.set()

    async def get(self) -> Outgoing | None:
        """The next event to write; None when there will be no more."""
        while not self._waiting and self.close_code is None and not self.overflowed.is_set():
            self._changed.clear()
            await self._changed.wait()
        if self.overflowed.is_set() or not self._waiting:
            return None
        return self._waiting.popleft()
