"""Live captions of one source of audio: microphone or recording to a server, events to the terminal.

It does not know how a caption looks, or who runs the server.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from stream_client import LatencyMeter, LatencySummary, StreamClient, TranscriptBuilder
from stream_protocol import Event, Transcript, encode_event
from stream_server.caption import CaptionView
from stream_server.microphone import FRAME_MS as MICROPHONE_FRAME_MS
from stream_server.microphone import Microphone
from stream_server.recording import FRAME_MS, SAMPLE_RATE, play


@dataclass(frozen=True, slots=True)
class Source:
    """Live int16 mono, in frames of ``frame_ms`` each; ``total_ms`` where the length is known."""

    name: str
    frames: AsyncIterator[bytes]
    frame_ms: int
    sample_rate: int
    total_ms: int | None = None


def microphone_source(device: str | None) -> Source:
    """The microphone with this number or part of a name.

    Raises:
        MicrophoneError: there is none, or no way to reach it.
    """
    microphone = Microphone(int(device) if device is not None and device.isdecimal() else device)
    return Source(microphone.name, microphone.frames(), MICROPHONE_FRAME_MS, microphone.sample_rate)


def recording_source(name: str, pcm: bytes) -> Source:
    """A recording as ``read_pcm`` gives it, at real speed."""
    return Source(name, play(pcm), FRAME_MS, SAMPLE_RATE, total_ms=len(pcm) * 1000 // (2 * SAMPLE_RATE))


class JsonView:
    """Events as lines of JSON, for machines."""

    def receive(self, event: Event) -> None:
        print(encode_event(event), flush=True)

    def advance(self, position_ms: int) -> None:
        """Machines have no use for it."""


async def caption(
    source: Source, url: str, console: Console, *, api_key: str | None = None, as_json: bool = False, **init: Any
) -> tuple[Transcript, LatencySummary]:
    """Show what is said, until the source ends and all is final.

    Raises:
        StreamClientError: the server or the network ended the stream early.
        MicrophoneError: the microphone is gone.
    """
    async with StreamClient(url, api_key=api_key, sample_rate=source.sample_rate, **init) as client:
        if as_json:
            return await converse(client, source, JsonView())
        with CaptionView(console, total_ms=source.total_ms) as view:
            return await converse(client, source, view)


async def converse(
    client: StreamClient, source: Source, view: CaptionView | JsonView
) -> tuple[Transcript, LatencySummary]:
    """Send frames as they come, and show every event.

    The first Ctrl-C ends the source, so that what was said is still made final; the second leaves at once.
    """
    meter, transcript = LatencyMeter(source.frame_ms), TranscriptBuilder()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        loop.remove_signal_handler(signal.SIGINT)

    async def read() -> None:
        async for event in client:
            meter.received(event, time.monotonic())
            transcript.receive(event)
            view.receive(event)

    loop.add_signal_handler(signal.SIGINT, stop)
    reader = asyncio.create_task(read())
    sent_ms = 0
    try:
        async for frame in source.frames:
            if stopped.is_set():
                break
            meter.sent(time.monotonic())
            await client.send(frame)
            sent_ms += source.frame_ms
            view.advance(sent_ms)
        await client.end()
        await reader
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    return transcript.build(), meter.summary()
