"""Live captions of raw audio on standard input, and so of whatever ffmpeg can read.

ffmpeg -loglevel error -i talk.mp4 -f s16le -ac 1 -ar 16000 - | python pipe.py             # as fast as it goes
ffmpeg -loglevel error -re -i talk.mp4 -f s16le -ac 1 -ar 16000 - | python pipe.py         # at its own speed
ffmpeg -loglevel error -i https://radio.example/live -f s16le -ac 1 -ar 16000 - | python pipe.py
ffmpeg -loglevel error -f pulse -i default -f s16le -ac 1 -ar 16000 - | python pipe.py     # what this machine hears
"""

from __future__ import annotations

import asyncio
import os
import sys

from stream_client import StreamClient, StreamClientError
from stream_protocol.events import FinalSegment

SERVER = os.environ.get("SERVER", "http://127.0.0.1:8000")
MOST = 64 * 1024
"""Bytes to take at a time: two seconds; of a live source, what there is."""


async def send(client: StreamClient) -> None:
    while audio := await asyncio.to_thread(os.read, sys.stdin.fileno(), MOST):
        await client.send(audio)  # waits while the server does not keep up, and so does ffmpeg
    await client.end()


async def show(client: StreamClient) -> None:
    async for event in client:
        if isinstance(event, FinalSegment) and event.text:
            print(f"{event.offset_ms / 1000:7.2f} s  {event.text}", flush=True)


async def main() -> int:
    client = StreamClient(
        SERVER.replace("http", "ws", 1) + "/ws",
        api_key=os.environ.get("STREAM_API_KEY"),
        partials=False,
        max_connection_duration=86_400,  # an hour, where nothing is said
    )
    try:
        async with client:
            await asyncio.gather(show(client), send(client))
    except StreamClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
