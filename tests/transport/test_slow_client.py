"""A client that does not read: what waits for it is bounded, it is cut off, and the others notice nothing."""

from __future__ import annotations

import asyncio
import socket

from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import running_server
from tests.support.speech import pcm

LIMIT = 50


async def test_a_client_that_never_reads_is_cut_off() -> None:
    async with running_server(FakeRecognizer(), max_unsent_events=LIMIT) as server:
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            narrow.connect(("127.0.0.1", server.port))
            narrow.setblocking(False)
            deaf = await call(server.ws_url, {"dtype": "int16"}, sock=narrow, max_queue=1)
            await deaf.until("ready")
            live = next(iter(server.service.registry._sessions.values()))
            # Each is answered with about 10 kB; the system's own buffers hold a few megabytes.
            big = {"type": "configure", "keyterms": ["x" * 100] * 100}
            flood = asyncio.create_task(deaf.send(*[big] * 3000))
            while live.is_attached:
                await asyncio.sleep(0.05)
                other = await transcribe(server.ws_url, pcm(synthesize("speech", 16_000, 16_000)), {"dtype": "int16"})
                assert other.finals[0]["text"]
            assert not live.closed.is_set(), "it may come back, and read"
            deaf.socket.transport.abort()
            await asyncio.gather(flood, return_exceptions=True)


async def test_a_client_that_is_slow_to_begin_reading_misses_nothing() -> None:
    async with running_server(FakeRecognizer(), max_unsent_events=LIMIT) as server:
        caller = await call(server.ws_url, {"dtype": "int16"})
        await caller.send(*[{"type": "flush", "id": number} for number in range(2 * LIMIT)], "END")
        await asyncio.sleep(0.1)
        assert await caller.rest() == 1000
        assert [event["id"] for event in caller.of("flushed")] == list(range(2 * LIMIT))
