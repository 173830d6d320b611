"""Clients as they should be, for the soak: live speech, live speech over a bad network, and recordings over HTTP.

Each does the same again until it is told to stop, and notes what was not as it should be. They do not know that others
misbehave meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2

from bench.corpus import SAMPLE_RATE
from bench.proxy import Proxy
from stream_client import CONNECTION_FAILED, ReconnectPolicy, StreamClient, StreamClientError
from stream_protocol import ErrorCode
from stream_protocol.events import Done, FinalSegment

FRAME_SEC: Final = 0.1
CUT_SEC: Final = 12.0
ANSWER_SEC: Final = 120.0
PAUSE_SEC: Final = 5.0
CUT: Final = "sessions cut"
_FULL: Final = (ErrorCode.CAPACITY_FULL, ErrorCode.RATE_LIMITED)


@dataclass(slots=True)
class Book:
    """What happened to all of them: ``counts`` by kind, ``problems`` in words."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


async def speak(url: str, takes: Sequence[bytes], turn: int, stopping: asyncio.Event, book: Book) -> None:
    """Live sessions, one after the other."""
    while not stopping.is_set():
        await _session(url, takes[turn % len(takes)], "sessions", book)
        turn += 1


async def speak_over_a_bad_network(
    address: str, takes: Sequence[bytes], turn: int, stopping: asyncio.Event, book: Book
) -> None:
    """The same, cut every `CUT_SEC` seconds."""
    async with Proxy(address) as network:

        async def cut() -> None:
            while True:
                await asyncio.sleep(CUT_SEC)
                book.counts["cuts"] += network.cut()

        cutting = asyncio.create_task(cut())
        try:
            while not stopping.is_set():
                await _session(network.ws_url, takes[turn % len(takes)], CUT, book)
                turn += 1
        finally:
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)


async def transcribe(http_url: str, recording: Path, stopping: asyncio.Event, book: Book) -> None:
    """A recording, again and again, with a pause between."""
    content = await asyncio.to_thread(recording.read_bytes)
    async with httpx2.AsyncClient(trust_env=False, timeout=ANSWER_SEC) as client:
        while not stopping.is_set():
            try:
                answer = await client.post(
                    f"{http_url}/v1/audio/transcriptions",
                    data={"model": "whisper-1", "response_format": "text"},
                    files={"file": (recording.name, content)},
                )
                if answer.status_code in (429, 503):
                    book.counts["refused"] += 1
                elif answer.status_code != 200 or not answer.text.strip():
                    book.problems.append(f"transcription: HTTP {answer.status_code}: {answer.text[:200]}")
                else:
                    book.counts["transcriptions"] += 1
            except httpx2.HTTPError as error:
                book.problems.append(f"transcription: {error!r}")
            await asyncio.sleep(PAUSE_SEC)


async def _session(url: str, audio: bytes, kind: str, book: Book) -> None:
    finals, is_done, is_connected = 0, False, False
    try:
        async with StreamClient(
            url,
            reconnect=ReconnectPolicy(first_wait_sec=0.05),
            on_connection=lambda change: book.counts.update([change.state]),
        ) as client:
            is_connected = True
            sender = asyncio.create_task(_send(client, audio))
            try:
                async for event in client:
                    finals += isinstance(event, FinalSegment)
                    is_done |= isinstance(event, Done)
                await sender
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
    except StreamClientError as error:
        if error.code in _FULL:
            book.counts["refused"] += 1
            await asyncio.sleep(error.retry_after or PAUSE_SEC)
        elif error.code == CONNECTION_FAILED and kind == CUT and not is_connected:
            book.counts["first connects cut"] += 1  # whoever has no session yet is told, and tries again himself
        else:
            book.problems.append(f"{kind}: {error}")
            await asyncio.sleep(PAUSE_SEC)
        return
    book.counts[kind] += 1
    if not (finals and is_done):
        book.problems.append(f"{kind}: {finals} finals, {'' if is_done else 'no '}done")


async def _send(client: StreamClient, audio: bytes) -> None:
    size = round(FRAME_SEC * SAMPLE_RATE) * 2
    start = time.monotonic()
    for at in range(0, len(audio), size):
        await asyncio.sleep(max(0.0, start + (at + size) / 2 / SAMPLE_RATE - time.monotonic()))
        await client.send(audio[at : at + size])
    await client.end()
