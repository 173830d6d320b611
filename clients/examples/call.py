"""A telephone call with caller and agent on a channel each, replayed at its own speed, captioned as it would be live.

ffmpeg -i call.wav -ar 8000 -ac 2 -f mulaw call.ulaw      # 8000 samples a second, one byte each, the channels in turn
python call.py call.ulaw                                  # --speed 4: four times as fast
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from stream_client import StreamClient, StreamClientError
from stream_protocol.events import FinalSegment

SPEAKERS = ("caller", "agent")
RATE = 8000
FRAME_SEC = 0.02
"""As telephone switches send it."""
FRAME_BYTES = int(RATE * FRAME_SEC) * len(SPEAKERS)
SERVER = os.environ.get("SERVER", "http://127.0.0.1:8000")


async def replay(client: StreamClient, audio: bytes, speed: float) -> None:
    """Send each frame when its last sample would have been spoken."""
    start = time.monotonic()
    for sent in range(0, len(audio), FRAME_BYTES):
        spoken = (sent / FRAME_BYTES + 1) * FRAME_SEC / speed
        await asyncio.sleep(max(0.0, start + spoken - time.monotonic()))
        await client.send(audio[sent : sent + FRAME_BYTES])
    await client.end()


async def show(client: StreamClient) -> None:
    async for event in client:
        if isinstance(event, FinalSegment) and event.text:
            print(f"{event.offset_ms / 1000:7.2f} s  {SPEAKERS[event.channel]}: {event.text}", flush=True)


async def main() -> int:
    parser = argparse.ArgumentParser(description="Replay a telephone call of two channels, and show who said what.")
    parser.add_argument("file", type=Path, help="raw mu-law, 8 kHz, two channels")
    parser.add_argument("--speed", type=float, default=1.0, help="1 is real time")
    options = parser.parse_args()
    audio = options.file.read_bytes()
    client = StreamClient(
        SERVER.replace("http", "ws", 1) + "/ws",
        api_key=os.environ.get("STREAM_API_KEY"),
        dtype="ulaw",
        sample_rate=RATE,
        channels=len(SPEAKERS),
        partials=False,
    )
    try:
        async with client:
            await asyncio.gather(show(client), replay(client, audio, options.speed))
    except StreamClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
