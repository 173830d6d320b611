"""Control messages that are answered, and who waits for the answer. It does not know how they travel: it puts them into
the backlog, and takes them out when they are answered.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

from stream_client._backlog import Backlog
from stream_client.error import StreamClientError
from stream_protocol.events import Configured, Flushed


class Questions:
    """Flushes, answered by their number, and configurations, answered in order.

    Nothing in ``configured`` says which ``configure`` it answers, and one that is sent again after a break may be
    answered twice. So only one is under way at a time; and while ``_strays`` answers to earlier ones may still come, it
    is sent that many times more, which changes nothing, and has its answer in the last of the answers.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._flushes: dict[int, tuple[str, asyncio.Future[Flushed]]] = {}
        self._configures: deque[tuple[str, asyncio.Future[Configured]]] = deque()  # the first of them is under way
        self._due = 0  # answers until the first has its own
        self._strays = 0  # at most; answers to what has had its own
        self._asked_at = 0  # the sample of the stream
        self._number = 0
        self.in_force: dict[str, Any] = {}
        """The fields that have been configured, for a session that takes over."""

    def flush(self) -> asyncio.Future[Flushed]:
        """Ask; the answer to come."""
        self._number += 1
        message = json.dumps({"type": "flush", "id": self._number})
        answer: asyncio.Future[Flushed] = asyncio.get_running_loop().create_future()
        self._flushes[self._number] = message, answer
        self._backlog.append(message)
        return answer

    def configure(self, message: str) -> asyncio.Future[Configured]:
        """Ask, as soon as what was asked before is answered; the answer to come."""
        answer: asyncio.Future[Configured] = asyncio.get_running_loop().create_future()
        self._configures.append((message, answer))
        self._ask()
        return answer

    def _ask(self) -> None:
        if self._configures and not self._due:
            self._due, self._asked_at = self._strays + 1, self._backlog.end_sample
            for _ in range(self._due):
                self._backlog.append(self._configures[0][0])

    def resume(self) -> None:
        """The session goes on after a break: what has no answer yet is sent again."""
        self._strays += self._due

    def restart(self) -> None:
        """A new session, which answers what it is asked."""
        self._strays = 0

    def heard(self, sample: int) -> None:
        """The server has acknowledged audio up to here: it has answered what was asked before."""
        if sample > self._asked_at:
            self._strays = 0

    def flushed(self, event: Flushed) -> bool:
        """An answer; False where there has been one: asked again after a break, and answered twice."""
        if event.id not in self._flushes:
            return False
        message, answer = self._flushes.pop(int(event.id))
        if not answer.done():
            answer.set_result(event)
        self._backlog.settle(message)
        return True

    def configured(self, event: Configured) -> None:
        """An answer; whose, can be told from how many there were."""
        if not self._due:
            return
        self._due -= 1
        message, answer = self._configures[0]
        self._backlog.settle(message)
        if self._due:
            return
        self._configures.popleft()
        self.in_force |= {name: value for name, value in json.loads(message).items() if name != "type"}
        if not answer.done():
            answer.set_result(event)
        self._ask()

    def fail(self, error: StreamClientError) -> None:
        """There will be no answers."""
        flushes: list[asyncio.Future[Any]] = [answer for _, answer in self._flushes.values()]
        for answer in [*flushes, *(answer for _, answer in self._configures)]:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # its caller may have left; then nobody asks
