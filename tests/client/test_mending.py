"""What a client sends again, and when it does not go on: connections that break in chosen places."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from stream_client import ReconnectPolicy, StreamClient, StreamClientError
from stream_client._transport import Connector, MemoryTransport, TransportClosed, memory_pair
from stream_protocol import ErrorCode, Event, encode_event
from stream_protocol.events import Ack, Done, Error, Ready, Warning, WarningCode
from tests.client.scripted import AUDIO, ScriptedServer

URL = "ws://memory/ws"
QUICK = ReconnectPolicy(give_up_sec=5, first_wait_sec=0.001, max_wait_sec=0.002)
SECONDS = bytes(8000)
DOUBT = 3 * len(SECONDS)  # what a session that is gone may have heard without a word

Serve = Callable[[MemoryTransport], Awaitable[None]]


def script(*connections: Serve | StreamClientError) -> Connector:
    """A server that does one of these for each connection in turn, and then hangs up."""
    left = list(connections)
    tasks = set()

    async def serve(far: MemoryTransport, connection: Serve) -> None:
        with suppress(TransportClosed):
            await connection(far)
        await far.close(1006)

    async def connect(url: str, headers: Any, ssl_context: Any = None) -> MemoryTransport:
        connection = left.pop(0)
        if isinstance(connection, StreamClientError):
            raise connection
        near, far = memory_pair(limit=1000)
        tasks.add(asyncio.create_task(serve(far, connection)))
        return near

    return connect


async def say(far: MemoryTransport, *events: Event) -> None:
    for event in events:
        await far.send(encode_event(event))


def ready(received: int | None = None) -> Ready:
    """Of a session that is resumed, where something was ``received``."""
    return Ready("s", "t", 1, "m", "en", {}, resumed=received is not None, received_samples=received or 0)


async def hear(far: MemoryTransport, size: int) -> None:
    while size > 0:
        size -= len(await far.receive())


def finish(heard: list[int]) -> Serve:
    """A session that takes all the rest; how much that was."""

    async def serve(far: MemoryTransport) -> None:
        await far.receive()
        await say(far, ready())
        while isinstance(frame := await far.receive(), bytes):
            heard.append(len(frame))
        await say(far, Done(seq=1, total_segments=0, total_audio_duration_sec=0.0, connection_duration_sec=0.0))

    return serve


async def lost(far: MemoryTransport) -> None:
    await far.receive()
    await say(far, ready())


async def play(connect: Connector, seconds: int, **options: Any) -> None:
    async with StreamClient(URL, connect=connect, **{"reconnect": QUICK, **AUDIO, **options}) as client:
        for _ in range(seconds):
            await client.send(SECONDS)
        await client.end()
        async for _ in client:
            pass


async def test_what_a_resume_was_to_tell_counts_as_heard_only_when_it_was_told() -> None:
    async def lost_unheard(far: MemoryTransport) -> None:
        await far.receive()
        await say(far, ready())
        await hear(far, 10 * len(SECONDS))

    async def lost_before_the_replay(far: MemoryTransport) -> None:
        await far.receive()
        await say(far, ready(received=10 * len(SECONDS)))

    heard: list[int] = []
    await asyncio.wait_for(play(script(lost_unheard, lost_before_the_replay, finish(heard)), 10), 10)
    assert sum(heard) == 10 * len(SECONDS)


@pytest.mark.parametrize("is_told", [True, False], ids=["error", "close code"])
async def test_a_server_that_has_to_go_may_have_made_nothing_final(is_told: bool) -> None:
    async def fail(far: MemoryTransport) -> None:
        await far.receive()
        await say(far, ready())
        await hear(far, 10 * len(SECONDS))
        await say(far, Ack(10 * len(SECONDS)))
        if is_told:
            await say(far, Error(ErrorCode.SERVER_DRAINING, "the speech engine failed"))
        await far.close(1012)

    heard: list[int] = []
    await asyncio.wait_for(play(script(fail, finish(heard)), 10), 10)
    assert sum(heard) == DOUBT


async def test_a_long_wait_that_the_server_asks_for_leaves_one_more_attempt() -> None:
    heard: list[int] = []
    full = StreamClientError(ErrorCode.CAPACITY_FULL, "full", retry_after=60)
    soon = ReconnectPolicy(give_up_sec=0.3)
    await asyncio.wait_for(play(script(lost, full, finish(heard)), 1, reconnect=soon), 10)
    assert sum(heard) == len(SECONDS)
    with pytest.raises(StreamClientError, match=r"gave up after 0.3 s: full"):
        await asyncio.wait_for(play(script(lost, full, full), 1, reconnect=soon), 10)


async def test_a_warning_which_each_new_connection_tells_again_is_nothing_new() -> None:
    async def warns(far: MemoryTransport) -> None:
        await far.receive()
        await say(far, ready(0), Warning(WarningCode.DEGRADED, "busy"))

    soon = ReconnectPolicy(give_up_sec=0.3, first_wait_sec=0.001, max_wait_sec=0.002)
    with pytest.raises(StreamClientError, match=r"gave up after 0.3 s"):
        await asyncio.wait_for(play(script(lost, *[warns] * 2000), 1, reconnect=soon), 10)


async def silent(far: MemoryTransport) -> None:
    await far.receive()
    await far.receive()  # nothing comes: it is the client who gives up


async def refused(far: MemoryTransport) -> None:
    await far.receive()


def replaced(greeting: Ready) -> Serve:
    async def serve(far: MemoryTransport) -> None:
        await far.receive()
        await say(far, greeting, Error(ErrorCode.SESSION_REPLACED, "resumed by another connection"))

    return serve


async def test_who_is_replaced_by_another_client_does_not_fight_for_the_session() -> None:
    for connections in (
        (lost, refused, refused, replaced(ready(received=0))),
        (lost, silent, replaced(ready())),  # the attempt that was held up belongs to the session that is gone
    ):
        with pytest.raises(StreamClientError, match="SESSION_REPLACED"):
            await asyncio.wait_for(play(script(*connections), 1, open_timeout=0.2), 10)


async def test_who_is_replaced_by_an_attempt_of_its_own_goes_on() -> None:
    heard: list[int] = []
    connections = (lost, silent, replaced(ready(received=0)), finish(heard))
    await asyncio.wait_for(play(script(*connections), 1, open_timeout=0.2), 10)
    assert sum(heard) == len(SECONDS)


async def test_every_configuration_arrives_and_has_its_own_answer() -> None:
    server = ScriptedServer((1,))
    async with StreamClient(URL, connect=server.connect, reconnect=QUICK, **AUDIO) as client:
        # The answer to the first is lost with the connection; it comes twice: replayed, and as it is asked again.
        first, second = await asyncio.wait_for(
            asyncio.gather(client.configure(partials=False), client.configure(words=False)), 10
        )
        assert first.config == {"type": "configure", "partials": False}
        assert second.config == {"type": "configure", "words": False}
        assert len(server.inits) == 2
        await client.send(SECONDS)
        await asyncio.wait_for(client.flush(), 10)  # what was acknowledged before leaves no doubt
        third = await asyncio.wait_for(client.configure(chunk_size_sec=1.0), 10)
        assert third.config == {"type": "configure", "chunk_size_sec": 1.0}
    assert server.sessions["session-1"].heard == [*["configure"] * 4, "flush", "configure"]
