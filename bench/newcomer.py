"""Callers who come one after the other while a server is under load, and what each of them meets.

It does not know what the load is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.playback import FRAME_SEC, Recording
from stream_client import ReconnectPolicy, StreamClient, StreamClientError
from stream_protocol.errors import ErrorCode
from stream_protocol.events import FinalSegment, SpeechEnd

INTERVAL_SEC: Final = 1.0
PATIENCE_SEC: Final = 30.0  # after its audio, until a newcomer is taken for lost
LOST: Final = "LOST"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """One caller: when it came (monotonic clock), the code of the error it met, and its worst wait for a final."""

    came: float
    code: str | None = None
    retry_after: float | None = None
    final_ms: float | None = None

    @property
    def is_refused(self) -> bool:
        return self.code == ErrorCode.CAPACITY_FULL


@dataclass(slots=True)
class Queue:
    """Those who have come, in the order in which they were done."""

    done: list[Newcomer] = field(default_factory=list)

    def between(self, begin: float, end: float = float("inf")) -> list[Newcomer]:
        """Those who came in that time, in order."""
        return sorted((each for each in self.done if begin <= each.came < end), key=lambda each: each.came)


@asynccontextmanager
async def newcomers(url: str, recording: Recording) -> AsyncIterator[Queue]:
    """One more caller every ``INTERVAL_SEC`` while the block runs; at its end all of them are done."""
    queue = Queue()
    calls: set[asyncio.Task[None]] = set()

    async def call() -> None:
        queue.done.append(await visit(url, recording))

    async def keep_coming() -> None:
        while True:
            task = asyncio.create_task(call())
            calls.add(task)
            await asyncio.sleep(INTERVAL_SEC)

    coming = asyncio.create_task(keep_coming())
    try:
        yield queue
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await asyncio.gather(*calls)


async def visit(url: str, recording: Recording) -> Newcomer:
    """Play the recording at real speed as a new caller."""
    came = time.monotonic()
    waits: list[float] = []
    try:
        async with asyncio.timeout(recording.seconds + PATIENCE_SEC):
            async with StreamClient(url, dtype=recording.dtype, reconnect=ReconnectPolicy(give_up_sec=0)) as client:
                sender = asyncio.create_task(_send(client, recording))
                ended: dict[int, float] = {}
                try:
                    async for event in client:
                        if isinstance(event, SpeechEnd):
                            ended[event.segment_id] = time.monotonic()
                        elif isinstance(event, FinalSegment):
                            waits.append(1000 * (time.monotonic() - ended[event.segment_id]))
                finally:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)
    except StreamClientError as error:
        return Newcomer(came, error.code, error.retry_after)
    except TimeoutError:
        return Newcomer(came, LOST)
    return Newcomer(came, final_ms=round(max(waits), 1)) if waits else Newcomer(came, LOST)


async def _send(client: StreamClient, recording: Recording) -> None:
    size = round(FRAME_SEC * recording.rate) * recording.sample_bytes
    start = time.monotonic()
    for offset in range(0, len(recording.data), size):
        frame = recording.data[offset : offset + size]
        due = start + (offset + len(frame)) / recording.sample_bytes / recording.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await client.send(frame)
    await client.end()
