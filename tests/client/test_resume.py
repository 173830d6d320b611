"""The client, the real server and the embedded model, on a network that cuts every connection again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from stream_client import ReconnectPolicy, transcribe
from stream_server.child import running_server
from stream_server.recording import find_demo, read_pcm


class Network:
    """A relay that can cut what goes through it, without a word to either side."""

    def __init__(self, address: str) -> None:
        self._host, self._port = address.split(":")
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        self.connections += 1
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


async def test_a_broken_network_changes_nothing_in_the_transcript() -> None:
    pcm = read_pcm(find_demo(), seconds=20)

    def frames() -> Iterator[bytes]:
        for start in range(0, len(pcm), 3200):
            yield pcm[start : start + 3200]

    async with running_server() as address:
        network = Network(address)
        relay = await asyncio.start_server(network.relay, "127.0.0.1", 0)
        port = relay.sockets[0].getsockname()[1]

        async def cut_frames() -> AsyncIterator[bytes]:
            for number, frame in enumerate(frames()):
                yield frame
                await asyncio.sleep(0.005)
                if number % 40 == 39:
                    network.cut()

        whole = await transcribe(f"ws://{address}/ws", frames())
        quick = ReconnectPolicy(first_wait_sec=0.01)
        mended = await transcribe(f"ws://127.0.0.1:{port}/ws", cut_frames(), reconnect=quick)
        relay.close()
    assert network.connections >= 5
    assert "best of times" in whole.text.lower()
    assert mended == whole
