"""The client against a scripted server in memory: events, control messages, backpressure, and mending."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from stream_client import ReconnectPolicy, StreamClient, StreamClientError, transcribe
from stream_client._transport import memory_pair
from stream_protocol import Event, encode_event
from stream_protocol.events import Done, EndOfTranscript, Error, FinalSegment, Flushed, Partial, Ready, SpeechStart
from tests.client.scripted import AUDIO, ScriptedServer

URL = "ws://memory/ws"
QUICK = ReconnectPolicy(give_up_sec=0.3, first_wait_sec=0.001, max_wait_sec=0.002)


def pcm(seconds: float) -> bytes:
    return bytes(index * 7 % 251 for index in range(int(seconds * 1000)))


def client_of(server: ScriptedServer, **options: Any) -> StreamClient:
    return StreamClient(URL, connect=server.connect, **{"reconnect": QUICK, **AUDIO, **options})


async def play(client: StreamClient, audio: bytes, size: int = 100) -> list[Event]:
    for start in range(0, len(audio), size):
        await client.send(audio[start : start + size])
    await client.end()
    return [event async for event in client]


def assert_whole(events: list[Event], server: ScriptedServer, audio: bytes) -> None:
    """Every session event once and in order, and the server heard every sample once."""
    (session,) = server.sessions.values()
    assert bytes(session.audio) == audio
    said = [event for event in events if not isinstance(event, Flushed)]
    assert said == [event for event in session.log if not isinstance(event, Flushed)]
    assert all(first.seq < second.seq for first, second in pairwise(events))  # type: ignore[union-attr]


async def test_events_are_typed_and_end_after_done() -> None:
    server = ScriptedServer()
    async with client_of(server, api_key="secret", model="fake") as client:
        assert client.ready.model == "fake"
        events = await play(client, pcm(2.5))
    assert_whole(events, server, pcm(2.5))
    assert isinstance(events[0], SpeechStart)
    assert isinstance(events[-1], Done)
    finals = [event for event in events if isinstance(event, FinalSegment)]
    assert [final.words[0].end_ms for final in finals if final.words] == [1000, 2000]
    assert server.headers == [{"Authorization": "Bearer secret"}]
    assert server.inits[0]["model"] == "fake"
    assert "api_key" not in server.inits[0]


async def test_a_caller_who_reads_only_at_the_end_does_not_block() -> None:
    server = ScriptedServer()
    async with client_of(server) as client:
        events = await asyncio.wait_for(play(client, pcm(60), size=97), 10)
    assert_whole(events, server, pcm(60))


async def test_long_audio_is_cut_to_frames() -> None:
    server = ScriptedServer()
    async with client_of(server) as client:
        events = await play(client, pcm(100), size=100_000)
    assert_whole(events, server, pcm(100))


async def test_lagging_reader_loses_partials_first_and_then_gets_an_error() -> None:
    server = ScriptedServer()
    async with client_of(server, max_events=40) as client:
        await client.send(pcm(11))
        await client.end()
        await server.idle()
        events = [event async for event in client]
    assert len([event for event in events if isinstance(event, FinalSegment)]) == 11
    assert len([event for event in events if isinstance(event, Partial)]) < 11
    async with client_of(ScriptedServer(), max_events=10) as client:
        with pytest.raises(StreamClientError, match="EVENTS_NOT_READ"):
            await play(client, pcm(60))


async def test_flush_and_configure_wait_for_their_answers() -> None:
    server = ScriptedServer()
    async with client_of(server) as client:
        await client.send(pcm(1))
        first, second = await asyncio.gather(client.flush(), client.flush())
        assert (first.id, second.id) == (1, 2)
        answer = await client.configure(partials=False, chunk_size_sec=1.0)
        assert answer.config == {"type": "configure", "partials": False, "chunk_size_sec": 1.0}
        await client.keepalive()
        events = await play(client, b"")
    assert [event.id for event in events if isinstance(event, Flushed)] == [1, 2]
    assert server.sessions["session-1"].heard == ["flush", "flush", "configure", "keepalive", "end"]


async def test_wrong_types_are_named_before_anything_is_sent() -> None:
    server = ScriptedServer()
    with pytest.raises(StreamClientError, match="INVALID_INIT: field 'silence_threshold_sec'"):
        async with client_of(server, silence_threshold_sec="long"):
            pass
    assert server.inits == []
    async with client_of(server) as client:
        with pytest.raises(StreamClientError, match="field 'partials'"):
            await client.configure(partials="yes")


@pytest.mark.parametrize(("loses", "ack"), [(0, True), (0, False), (30, False), (499, False)])
async def test_resume_loses_and_doubles_nothing(loses: int, ack: bool) -> None:
    server = ScriptedServer((7, 0, 0, 13, 1, 2, 40), loses=loses, ack=ack)
    async with client_of(server) as client:
        events = await asyncio.wait_for(play(client, pcm(9.3), size=97), 10)
    assert_whole(events, server, pcm(9.3))
    assert len(server.inits) == 6
    assert all(init["session_id"] == "session-1" and init["resume_token"] == "token" for init in server.inits[1:])


async def test_control_messages_survive_a_break() -> None:
    server = ScriptedServer((3, 1, 1))
    async with client_of(server) as client:
        await client.send(pcm(0.2))
        await client.send(pcm(0.2))
        flushed = await asyncio.wait_for(client.flush(), 5)  # the third frame: its answer is lost, then replayed
        assert flushed.id == 1
        events = await play(client, pcm(0.6))
    assert [event.id for event in events if isinstance(event, Flushed)] == [1]
    assert isinstance(events[-1], Done)
    assert bytes(server.sessions["session-1"].audio) == pcm(0.2) * 2 + pcm(0.6)


async def test_end_lost_on_the_way_is_sent_again() -> None:
    server = ScriptedServer((4,))
    async with client_of(server) as client:
        events = await play(client, pcm(0.3))
    assert isinstance(events[-1], Done)


async def test_giving_up_says_why() -> None:
    server = ScriptedServer((2, *[0] * 1000))
    async with client_of(server) as client:
        with pytest.raises(StreamClientError, match=r"CONNECTION_LOST: gave up after 0.3 s: scripted refusal"):
            await play(client, pcm(100))


async def test_a_server_that_breaks_again_and_again_is_given_up() -> None:
    server = ScriptedServer((2, *[1] * 10_000), loses=50, ack=False)
    async with client_of(server) as client:
        with pytest.raises(StreamClientError, match="breaks again and again"):
            await play(client, pcm(0.65), size=600)


async def test_audio_that_is_no_longer_buffered_cannot_be_resumed() -> None:
    server = ScriptedServer((20,), loses=499, ack=False)
    async with client_of(server, max_buffer_bytes=100) as client:
        with pytest.raises(StreamClientError, match="no longer buffered"):
            await play(client, pcm(9), size=90)


@pytest.mark.parametrize(("options", "head"), [({"dtype": "container"}, b""), ({}, b"RIFF")])
async def test_audio_with_a_header_is_not_resumed(options: dict[str, Any], head: bytes) -> None:
    server = ScriptedServer((3,))
    async with client_of(server, **options) as client:
        with pytest.raises(StreamClientError, match="CONNECTION_LOST"):
            await play(client, head + pcm(3))
    assert len(server.inits) == 1


async def test_an_error_event_reaches_the_reader_the_sender_and_the_one_who_waits() -> None:
    near, far = memory_pair()

    async def connect(url: str, headers: Any, ssl_context: Any) -> Any:
        return near

    await far.send(encode_event(Ready("s", "t", 1, "m", "en", {})))
    async with StreamClient(URL, connect=connect) as client:
        waiting = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        await far.send(encode_event(Error("RATE_LIMITED", "slow down", 2.5)))  # type: ignore[arg-type]
        with pytest.raises(StreamClientError) as caught:
            await anext(client)
        assert (caught.value.code, caught.value.message, caught.value.retry_after) == ("RATE_LIMITED", "slow down", 2.5)
        with pytest.raises(StreamClientError, match="slow down"):
            await waiting
        with pytest.raises(StreamClientError, match="slow down"):
            await client.send(b"12")


@pytest.mark.parametrize("frame", ["not json", b"\xff\xfe"])
async def test_a_server_that_speaks_something_else(frame: str | bytes) -> None:
    near, far = memory_pair()

    async def connect(url: str, headers: Any, ssl_context: Any) -> Any:
        return near

    await far.send(frame)
    with pytest.raises(StreamClientError, match="does not speak this protocol"):
        async with StreamClient(URL, connect=connect):
            pass


async def test_transcribe_collects_the_finals() -> None:
    server = ScriptedServer((5,))
    pieces = [pcm(3.2)[start : start + 64] for start in range(0, 3200, 64)]
    transcript = await transcribe(URL, pieces, connect=server.connect, reconnect=QUICK, **AUDIO)
    assert transcript.text == server.sessions["session-1"].text
    assert transcript.duration_ms == 3200
    assert [(segment.start_ms, segment.end_ms) for segment in transcript.segments] == [
        (0, 1000),
        (1000, 2000),
        (2000, 3000),
    ]
    assert server.inits[0]["partials"] is False


async def test_transcribe_passes_on_what_the_audio_source_raises() -> None:
    async def broken() -> Any:
        yield pcm(0.1)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await transcribe(URL, broken(), connect=ScriptedServer().connect, **AUDIO)


async def test_a_transcript_ends_with_the_end_event() -> None:
    server = ScriptedServer()
    async with client_of(server) as client:
        events = await play(client, pcm(2))
    assert isinstance(events[-2], EndOfTranscript)
    assert events[-2].text == server.sessions["session-1"].text
