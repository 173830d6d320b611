"""Recordings played to a server at real speed, several at once. It does not know what is made of the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.stability import Arrival
from stream_client import ReconnectPolicy, StreamClient, StreamClientError
from stream_protocol.events import Done, FinalSegment
from stream_protocol.transcript import join_text

FRAME_SEC: Final = 0.1


@dataclass(frozen=True, slots=True)
class Recording:
    """Audio as it goes over the wire: ``rate`` in hertz, ``sample_bytes`` per sample."""

    data: bytes
    rate: int = 16_000
    dtype: str = "int16"
    sample_bytes: int = 2

    @property
    def seconds(self) -> float:
        return len(self.data) / self.sample_bytes / self.rate


@dataclass(frozen=True, slots=True)
class Hearing:
    """What came back for one recording; ``error`` is why the stream ended early, if it did."""

    arrivals: tuple[Arrival, ...]
    error: str | None = None

    @property
    def text(self) -> str:
        return join_text(arrival.event.text for arrival in self.arrivals if isinstance(arrival.event, FinalSegment))


async def play(url: str, recording: Recording, **init: Any) -> Hearing:
    """Play one recording: each frame leaves when its last sample has been spoken, then ``end``."""
    arrivals: list[Arrival] = []
    try:
        async with StreamClient(
            url, sample_rate=recording.rate, dtype=recording.dtype, reconnect=ReconnectPolicy(give_up_sec=0), **init
        ) as client:
            start = time.monotonic()
            sender = asyncio.create_task(_send(client, recording, start))
            try:
                async for event in client:
                    arrivals.append(Arrival(event, time.monotonic() - start))  # noqa: PERF401 - kept after an error
                await sender
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
    except StreamClientError as error:
        return Hearing(tuple(arrivals), str(error))
    complete = bool(arrivals) and isinstance(arrivals[-1].event, Done)
    return Hearing(tuple(arrivals), None if complete else "the stream ended without `done`")


async def play_all(
    url: str, recordings: Sequence[Recording], streams: int, advance: Callable[[float], None], **init: Any
) -> list[Hearing]:
    """Play every recording, ``streams`` at a time, the longest first; the answers are in the order given.

    Args:
        advance: told the seconds of each recording that has ended.
        init: more fields of the init message.
    """
    order = iter(sorted(range(len(recordings)), key=lambda index: -recordings[index].seconds))
    hearings: dict[int, Hearing] = {}

    async def caller(number: int) -> None:
        await asyncio.sleep(number * FRAME_SEC)  # callers do not begin in step
        for index in order:
            hearings[index] = await play(url, recordings[index], **init)
            advance(recordings[index].seconds)

    await asyncio.gather(*(caller(number) for number in range(streams)))
    return [hearings[index] for index in range(len(recordings))]


async def _send(client: StreamClient, recording: Recording, start: float) -> None:
    size = round(FRAME_SEC * recording.rate) * recording.sample_bytes
    for offset in range(0, len(recording.data), size):
        frame = recording.data[offset : offset + size]
        due = start + (offset + len(frame)) / recording.sample_bytes / recording.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await client.send(frame)
    await client.end()
