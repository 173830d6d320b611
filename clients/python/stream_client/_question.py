"""Control messages that are answered, and who waits for the answer. It does not know how they travel."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

from stream_client.error import StreamClientError
from stream_protocol.events import Configured, Flushed


class Questions:
    """Flushes, answered by their number, and configurations, answered in order."""

    def __init__(self) -> None:
        self._flushes: dict[int, tuple[str, asyncio.Future[Flushed]]] = {}
        self._configures: deque[tuple[str, asyncio.Future[Configured]]] = deque()
        self._number = 0
        self.in_force: dict[str, Any] = {}
        """The fields that have been configured, for a session that takes over."""

    def flush(self) -> tuple[str, asyncio.Future[Flushed]]:
        """The message to send, and its answer to come."""
        self._number += 1
        asked = json.dumps({"type": "flush", "id": self._number}), asyncio.get_running_loop().create_future()
        self._flushes[self._number] = asked
        return asked

    def configure(self, message: str) -> asyncio.Future[Configured]:
        """The answer to come to this message."""
        answer: asyncio.Future[Configured] = asyncio.get_running_loop().create_future()
        self._configures.append((message, answer))
        return answer

    def flushed(self, event: Flushed) -> str | None:
        """The message that is answered; None where it has been: asked again after a break, and answered twice."""
        if event.id not in self._flushes:
            return None
        message, answer = self._flushes.pop(int(event.id))
        if not answer.done():
            answer.set_result(event)
        return message

    def configured(self, event: Configured) -> str | None:
        """The message that is answered."""
        if not self._configures:
            return None
        message, answer = self._configures.popleft()
        self.in_force |= {name: value for name, value in json.loads(message).items() if name != "type"}
        if not answer.done():
            answer.set_result(event)
        return message

    def fail(self, error: StreamClientError) -> None:
        """There will be no answers."""
        flushes: list[asyncio.Future[Any]] = [answer for _, answer in self._flushes.values()]
        for answer in [*flushes, *(answer for _, answer in self._configures)]:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # its caller may have left; then nobody asks
