"""How a stream gets over the end of a connection: whether it goes on, where, and from which sample. It reads nothing.

A connection that breaks is resumed. Where the session is gone, or was ended because its server shuts down, a new one
takes over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

from stream_client._backlog import Backlog
from stream_client._handshake import Door
from stream_client._question import Questions
from stream_client._timeline import Timeline
from stream_client._transport import Transport, TransportClosed
from stream_client.error import CONNECTION_FAILED, CONNECTION_LOST, StreamClientError
from stream_client.reconnect import ConnectionChange, ReconnectPolicy
from stream_protocol import ERROR_TABLE, ErrorCode
from stream_protocol.events import Ready

logger = logging.getLogger(__name__)

# Refusals that a later attempt may not meet any more.
_TRANSIENT: Final = (CONNECTION_FAILED, ErrorCode.CAPACITY_FULL, ErrorCode.SERVER_DRAINING, ErrorCode.RATE_LIMITED)

# Close codes that say the same as an error event would have said.
_CLOSES: Final[dict[int, str]] = {
    rule.close_code: code
    for code, rule in ERROR_TABLE.items()
    if code not in _TRANSIENT or code == ErrorCode.SERVER_DRAINING
}


def error_of(closed: TransportClosed) -> StreamClientError:
    """What a close says without an error event."""
    return StreamClientError(_CLOSES.get(closed.code, CONNECTION_LOST), str(closed))


class Mending:
    """Puts backlog and timeline back to where the next connection goes on.

    ``init`` is the message of the first session. ``is_resumable`` turns false where the audio has a header.
    """

    def __init__(
        self,
        door: Door,
        policy: ReconnectPolicy,
        init: Mapping[str, Any],
        backlog: Backlog,
        timeline: Timeline,
        questions: Questions,
        on_connection: Callable[[ConnectionChange], None] | None,
        *,
        is_resumable: bool,
    ) -> None:
        self.is_resumable = is_resumable
        self.ready: Ready | None = None
        self._door = door
        self._policy = policy
        self._init = dict(init)
        self._backlog = backlog
        self._timeline = timeline
        self._questions = questions
        self._on_connection = on_connection or (lambda change: None)
        self._is_gone = False  # the session
        self._started_at = time.monotonic()
        self._lost_at: float | None = None  # since when there is no progress
        self._waits: Iterator[float] | None = None  # the rest of them, as long as there is none

    async def begin(self) -> Transport:
        """The first connection.

        Raises:
            StreamClientError: refused, or unreachable.
        """
        transport, self.ready = await self._door.open(self._init)
        return transport

    def progress(self) -> None:
        """The server has said something new: whatever was broken is mended."""
        self._lost_at = None
        self._waits = None

    def survive(self, error: StreamClientError) -> None:
        """Note how the stream goes on after this end of a connection.

        Raises:
            StreamClientError: it does not.
        """
        if not self.is_resumable or self._policy.give_up_sec <= 0:
            raise error
        match error.code:
            case ErrorCode.SERVER_DRAINING:
                self._is_gone = True
            case ErrorCode.SESSION_REPLACED if self._door.abandoned:  # by an attempt of ours that was held up
                self._door.abandoned -= 1
            case code if code != CONNECTION_LOST:
                raise error
        logger.warning("connection lost, resuming: %s", error)
        self._on_connection(ConnectionChange("lost", error.message))

    async def reconnect(self) -> Transport:
        """Connect again and take up the session where it broke, or a new one where it is gone.

        Raises:
            StreamClientError: it took too long, or cannot be done.
        """
        # A server that breaks the connection again and again, with nothing in between, counts as one loss.
        self._lost_at = self._lost_at or time.monotonic()
        deadline = self._lost_at + self._policy.give_up_sec
        reason = StreamClientError(CONNECTION_LOST, "the connection breaks again and again")
        self._waits = self._waits or self._policy.waits()
        for wait in self._waits:
            left = deadline - time.monotonic()
            if left <= 0:
                message = f"gave up after {self._policy.give_up_sec:g} s: {reason.message}"
                raise StreamClientError(CONNECTION_LOST, message, reason.retry_after)
            # A long Retry-After says no more than when to come; the last attempt is made when the time is over.
            await asyncio.sleep(min(max(wait, reason.retry_after or 0.0), left))
            try:
                return await (self._restart() if self._is_gone else self._resume())
            except StreamClientError as error:
                if error.code == ErrorCode.SESSION_NOT_FOUND:
                    self._is_gone = True
                elif error.code not in _TRANSIENT:
                    raise
                reason = error
        raise AssertionError("the waits have no end")

    async def _resume(self) -> Transport:
        assert self.ready is not None
        session = {
            "session_id": self.ready.session_id,
            "resume_token": self.ready.resume_token,
            "last_seq": self._timeline.last_seq,
        }
        transport, ready = await self._door.open(self._init | session)
        if not ready.resumed:  # a server that knows no resuming has begun anew
            self._is_gone = True
        return await self._go_on(transport, ready)

    async def _restart(self) -> Transport:
        return await self._go_on(*await self._door.open(self._init | self._questions.in_force))

    async def _go_on(self, transport: Transport, ready: Ready) -> Transport:
        """Send on from where the server is; in a new session from behind the last final."""
        if self._is_gone:
            first = self._backlog.first_sample
            elapsed = time.monotonic() - self._started_at
            start = self._timeline.restart(first_sample=first, elapsed_sec=elapsed)
            self._questions.restart()
            self._door.abandoned = 0  # those would come to the session that is gone
        else:
            # Not heard yet: what the server has made of it is still to be replayed, and this connection may break, too.
            start = self._timeline.position(ready.received_samples)
            self._questions.resume()
        if not self._backlog.rewind(start):
            await transport.close()
            raise StreamClientError(
                CONNECTION_LOST, "the server lacks audio that is no longer buffered; raise max_buffer_bytes"
            )
        how: Literal["resumed", "restarted"] = "restarted" if self._is_gone else "resumed"
        logger.info("%s at sample %d", how, start)
        self.ready, self._is_gone = ready, False
        self._on_connection(ConnectionChange(how, f"the stream goes on in session {ready.session_id}"))
        return transport
