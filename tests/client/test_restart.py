"""A stream that outlives its servers: real servers in this process, whose text says how much was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from bench.proxy import Fault, Proxy
from stream_client import ConnectionChange, ReconnectPolicy, StreamClient, StreamClientError, SyncStreamClient
from stream_protocol import ErrorCode, Event, ServerError
from stream_protocol.events import Done, EndOfTranscript, FinalSegment, Partial
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm, recording

QUICK = ReconnectPolicy(first_wait_sec=0.01, max_wait_sec=0.05)
AUDIO = pcm(recording("beckett.wav"))
FRAME = 1999  # splits samples
SAME_MS = 60
INIT_BYTES = 350  # of a client: behind its handshake, in the middle of its init message
DRAINING = ServerError(ErrorCode.SERVER_DRAINING, "going", retry_after=0.1)


def forget(server: Running) -> None:
    """As a server that was killed: nothing is made final, and nobody knows the session any more."""
    for live in list(server.service.registry._sessions.values()):
        server.service.registry.forget(live)


async def drain(server: Running) -> None:
    await server.service.registry.drain(DRAINING, patience=0)


async def play(url: str, disturb: Callable[[], Any] | None, *, after_sec: float = 0.0, **options: Any) -> list[Event]:
    """Send half, wait until so much of it has been decoded, disturb the server, send the rest."""
    events: list[Event] = []
    seen = asyncio.Event()
    async with StreamClient(url, **{"reconnect": QUICK, **options}) as client:

        async def read() -> None:
            async for event in client:
                events.append(event)
                if isinstance(event, Partial) and event.audio_duration_sec >= after_sec:
                    seen.set()

        reading = asyncio.create_task(read())
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # a sender may hear of it first
        half = len(AUDIO) // 2
        for start in range(0, half, FRAME):
            await client.send(AUDIO[start : min(start + FRAME, half)])
        if disturb is not None:
            await asyncio.wait_for(seen.wait(), 30)
            result = disturb()
            if isinstance(result, Awaitable):
                await asyncio.wait_for(result, 30)
        for start in range(half, len(AUDIO), FRAME):
            await client.send(AUDIO[start : start + FRAME])
        await client.end()
        await asyncio.wait_for(reading, 30)
    return events


def finals(events: list[Event]) -> list[FinalSegment]:
    return [event for event in events if isinstance(event, FinalSegment)]


def assert_goes_on(events: list[Event]) -> None:
    """Numbers, times and the end are those of one stream."""
    numbers = [event.seq for event in events if hasattr(event, "seq")]
    assert numbers == list(range(1, len(numbers) + 1))
    said = finals(events)
    for before, after in pairwise(said):
        assert before.offset_ms + before.duration_ms <= after.offset_ms + SAME_MS
    text, done = events[-2:]
    assert isinstance(text, EndOfTranscript)
    assert text.text == " ".join(final.text for final in said if final.text)
    assert isinstance(done, Done)
    assert done.total_segments == len(said)
    assert abs(done.total_audio_duration_sec - len(AUDIO) / 32_000) < 0.01


async def test_a_session_that_is_gone_is_taken_over_by_a_new_one() -> None:
    changes: list[ConnectionChange] = []
    async with running_server(FakeRecognizer()) as server:
        whole = await play(server.ws_url, None)
        mended = await play(server.ws_url, lambda: forget(server), after_sec=3.0, on_connection=changes.append)
    assert_goes_on(mended)
    assert [change.state for change in changes] == ["lost", "restarted"]
    assert len(finals(mended)) == len(finals(whole))
    for one, other in zip(finals(mended), finals(whole), strict=True):
        assert abs(one.offset_ms - other.offset_ms) <= SAME_MS
        assert abs(one.duration_ms - other.duration_ms) <= 2 * SAME_MS
        assert one.words
        assert other.words
        assert abs(one.words[0].start_ms - other.words[0].start_ms) <= 4 * SAME_MS


async def test_a_server_that_drains_hands_the_stream_over_to_another() -> None:
    changes: list[ConnectionChange] = []
    async with (
        running_server(FakeRecognizer()) as one,
        running_server(FakeRecognizer()) as other,
        Proxy(f"127.0.0.1:{one.port}", f"127.0.0.1:{other.port}") as network,
    ):
        whole = await play(one.ws_url, None)
        events = await play(network.ws_url, lambda: drain(one), on_connection=changes.append)
    assert_goes_on(events)
    assert [change.state for change in changes] == ["lost", "restarted"]
    heard = [sum(final.duration_ms for final in finals(each)) for each in (events, whole)]
    assert abs(heard[0] - heard[1]) <= 300, "nothing lost, nothing twice"


async def test_flush_and_settings_outlive_a_session() -> None:
    async with running_server(FakeRecognizer()) as server, StreamClient(server.ws_url, reconnect=QUICK) as client:
        await client.configure(silence_threshold_sec=0.5)
        await client.keepalive()
        await client.send(AUDIO[:32_000])
        forget(server)
        await client.send(AUDIO[32_000:64_000])
        assert (await asyncio.wait_for(client.flush(), 30)).id == 1
        assert client.ready.config["silence_threshold_sec"] == 0.5


async def test_who_does_not_reconnect_is_told() -> None:
    async with running_server(FakeRecognizer()) as server:
        with pytest.raises(StreamClientError, match="SERVER_DRAINING: going"):
            await play(server.ws_url, lambda: drain(server), reconnect=ReconnectPolicy(give_up_sec=0))


async def test_a_late_attempt_of_our_own_does_not_end_the_stream() -> None:
    """An attempt is held up in the network and given up; when it arrives at last, it takes the session over."""
    changes: list[ConnectionChange] = []
    async with running_server(FakeRecognizer()) as server, Proxy(f"127.0.0.1:{server.port}") as network:

        async def disturb() -> None:
            network.cut()
            late = await network.connection()
            late.cut(Fault.FREEZE, after_bytes=INIT_BYTES)
            while await network.connection() is late:
                await asyncio.sleep(0.01)  # until it is given up
            while changes[-1].state != "resumed":
                await asyncio.sleep(0.01)
            late.thaw()
            while len(changes) < 4:
                await asyncio.sleep(0.01)

        whole = await play(server.ws_url, None)
        events = await play(network.ws_url, disturb, open_timeout=0.5, on_connection=changes.append)
    assert [final.text for final in finals(events)] == [final.text for final in finals(whole)]
    assert_goes_on(events)
    assert [change.state for change in changes] == ["lost", "resumed", "lost", "resumed"]
    assert "resumed by another connection" in changes[2].message


def test_the_blocking_client_mends_itself_too() -> None:
    asyncio.run(_blocking())


async def _blocking() -> None:
    changes: list[ConnectionChange] = []

    def talk(url: str, half_sent: asyncio.Event, loop: asyncio.AbstractEventLoop) -> list[Event]:
        with SyncStreamClient(url, reconnect=QUICK, on_connection=changes.append) as client:
            client.send(AUDIO[: len(AUDIO) // 2])
            loop.call_soon_threadsafe(half_sent.set)
            client.send(AUDIO[len(AUDIO) // 2 :])
            client.end()
            return list(client)

    async with running_server(FakeRecognizer()) as server, Proxy(f"127.0.0.1:{server.port}") as network:
        whole = await play(server.ws_url, None)
        half_sent = asyncio.Event()
        talking = asyncio.create_task(asyncio.to_thread(talk, network.ws_url, half_sent, asyncio.get_running_loop()))
        await half_sent.wait()
        network.cut(Fault.CLOSE)
        events = await talking
    assert_goes_on(events)
    assert [final.text for final in finals(events)] == [final.text for final in finals(whole)]
    assert changes[-1].state == "resumed"
