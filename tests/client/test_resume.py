"""The client, the real server and the embedded model, on a network that cuts every connection again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from bench.proxy import Proxy
from stream_client import ReconnectPolicy, transcribe
from stream_server.child import running_server
from stream_server.recording import find_demo, read_pcm


async def test_a_broken_network_changes_nothing_in_the_transcript() -> None:
    pcm = read_pcm(find_demo(), seconds=20)

    def frames() -> Iterator[bytes]:
        for start in range(0, len(pcm), 3200):
            yield pcm[start : start + 3200]

    async with running_server() as address, Proxy(address) as network:

        async def cut_frames() -> AsyncIterator[bytes]:
            for number, frame in enumerate(frames()):
                yield frame
                await asyncio.sleep(0.005)
                if number % 40 == 39:
                    network.cut()

        whole = await transcribe(f"ws://{address}/ws", frames())
        quick = ReconnectPolicy(first_wait_sec=0.01)
        mended = await transcribe(network.ws_url, cut_frames(), reconnect=quick)
    assert network.connections >= 5
    assert "best of times" in whole.text.lower()
    assert mended == whole
