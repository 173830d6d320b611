"""Promise 5, nothing is lost on resume: over real sockets that are cut, and on every bound there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from bench.proxy import Fault, Proxy
from stream_protocol import ClientError, ErrorCode
from stream_server.engine.work import Thinned
from stream_server.transport.live import REPLAY_EVENTS
from tests.protocol.promise import PromiseWatch
from tests.support.caller import Caller, call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import moonshine, pcm, recording

INIT = {"dtype": "int16", "acks": True}
SAMPLE_BYTES = 2


def what_was_said(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = ("speech_start", "speech_end", "final_segment", "end_of_transcript")
    return [
        {key: value for key, value in event.items() if key not in ("seq", "latency_ms")}
        for event in events
        if event["type"] in kinds
    ]


async def cut(caller: Caller) -> None:
    """The network goes away, without a word."""
    caller.socket.transport.abort()
    await caller.socket.wait_closed()


async def again(server: Running | Proxy, caller: Caller, **init: Any) -> Caller:
    """Resume where ``caller`` was cut off; the same promises are watched on."""
    first = caller.of("ready")[0]
    caller.watch.connect()
    resumed = await call(
        server.ws_url,
        {
            "session_id": first["session_id"],
            "resume_token": first["resume_token"],
            "last_seq": caller.watch.seq,
        }
        | init,
    )
    resumed.watch, resumed.events = caller.watch, caller.events
    return resumed


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_promise_5_cuts_anywhere_lose_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    audio = pcm(recording("beckett.wav"))
    async with running_server(moonshine()) as server:
        whole = await transcribe(server.ws_url, audio, INIT)
        caller = await call(server.ws_url, INIT)
        ready = await caller.until("ready")
        for _ in range(5):
            at = ready["received_samples"] * SAMPLE_BYTES
            stop = at + int(random.integers(1, len(audio) // 4))
            for start in range(at, stop, 1999):  # splits samples
                await caller.send(audio[start : min(stop, start + 1999)])
            for _ in range(int(random.integers(0, 4))):  # some of what the server says arrives, some does not
                try:
                    async with asyncio.timeout(0.05):
                        await caller.receive()
                except TimeoutError:
                    break
            await cut(caller)
            caller = await again(server, caller)
            ready = await caller.until("ready")
            assert ready["resumed"]
            assert ready["received_samples"] * SAMPLE_BYTES <= stop
        await caller.send(audio[ready["received_samples"] * SAMPLE_BYTES :], "END")
        assert await caller.rest() == 1000
    assert what_was_said(caller.events) == what_was_said(whole.events)
    assert caller.of("done")[0]["total_audio_duration_sec"] == whole.of("done")[0]["total_audio_duration_sec"]


async def after_ready(network: Proxy, caller: Caller, audio: bytes) -> None:
    network.cut()


async def in_a_frame(network: Proxy, caller: Caller, audio: bytes) -> None:
    await caller.send(audio[:32_001])
    network.cut(after_bytes=9999)
    await caller.send(audio[32_001:64_000])


async def in_the_replay(network: Proxy, caller: Caller, audio: bytes) -> None:
    await caller.send(audio[:128_000])
    await caller.until("speech_start")
    network.cut()
    await caller.socket.wait_closed()
    caller.watch = PromiseWatch()
    resumed = await again(network, caller)
    await resumed.receive()
    await resumed.receive()
    network.cut()


async def at_a_flush(network: Proxy, caller: Caller, audio: bytes) -> None:
    await caller.send(audio[:64_000], {"type": "flush", "id": 1})
    network.cut()


async def at_the_end(network: Proxy, caller: Caller, audio: bytes) -> None:
    await caller.send(audio, "END")
    await caller.until("final_segment")
    network.cut()


async def behind_the_end(network: Proxy, caller: Caller, audio: bytes) -> None:
    await caller.send(audio, "END")
    await caller.until("end_of_transcript")
    network.cut()


@pytest.mark.parametrize("cut_off", [after_ready, in_a_frame, in_the_replay, at_the_end, behind_the_end])
async def test_cuts_at_awkward_moments(cut_off: Callable[[Proxy, Caller, bytes], Awaitable[None]]) -> None:
    audio = pcm(recording("beckett.wav"))
    async with running_server(FakeRecognizer()) as server, Proxy(f"127.0.0.1:{server.port}") as network:
        whole = await transcribe(server.ws_url, audio, INIT)
        caller = await call(network.ws_url, INIT)
        await caller.until("ready")
        await cut_off(network, caller, audio)
        await caller.socket.wait_closed()
        caller.watch.ended = False
        resumed = await again(network, caller)
        ready = await resumed.until("ready")
        assert ready["resumed"]
        await resumed.send(audio[ready["received_samples"] * SAMPLE_BYTES :], "END")
        assert await resumed.rest() == 1000
    said = {event["seq"]: event for event in resumed.events if "seq" in event}
    assert by_kind(list(said.values())) == by_kind(whole.events)


def by_kind(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Speech may begin before the segment before it is final, or after."""
    return sorted(what_was_said(events), key=lambda event: (event["type"], event.get("segment_id", 0)))


async def test_a_flush_that_was_cut_off_is_answered_though_it_is_sent_again() -> None:
    audio = pcm(recording("beckett.wav"))
    async with running_server(FakeRecognizer()) as server, Proxy(f"127.0.0.1:{server.port}") as network:
        caller = await call(network.ws_url, INIT)
        await caller.until("ready")
        await at_a_flush(network, caller, audio)
        resumed = await again(network, caller)
        ready = await resumed.until("ready")
        await resumed.send(audio[ready["received_samples"] * SAMPLE_BYTES : 64_000], {"type": "flush", "id": 1}, "END")
        assert await resumed.rest() == 1000
    assert {event["id"] for event in resumed.of("flushed")} == {1}


async def test_several_channels_go_on_at_a_whole_sample_of_all() -> None:
    mono = [recording("beckett.wav")[: 6 * 16_000], recording("two_cities.wav")[: 6 * 16_000]]
    audio, frame = pcm(np.stack(mono, axis=1).reshape(-1)), 2 * SAMPLE_BYTES
    init = INIT | {"channels": 2}
    async with running_server(FakeRecognizer()) as server:
        whole = await transcribe(server.ws_url, audio, init)
        caller = await call(server.ws_url, init)
        ready = await caller.until("ready")
        for stop in (50_001, 100_002, 200_003):
            await caller.send(audio[ready["received_samples"] * frame : stop])
            await cut(caller)
            caller = await again(server, caller)
            ready = await caller.until("ready")
            assert ready["received_samples"] <= stop // frame
        await caller.send(audio[ready["received_samples"] * frame :], "END")
        assert await caller.rest() == 1000

    def by_channel(events: list[dict[str, Any]]) -> list[list[tuple[int, str]]]:
        finals = [event for event in events if event["type"] == "final_segment"]
        return [[(one["offset_ms"], one["text"]) for one in finals if one["channel"] == index] for index in (0, 1)]

    assert all(by_channel(whole.events))
    assert by_channel(caller.events) == by_channel(whole.events)


async def test_the_error_that_ended_a_session_is_said_to_those_who_missed_it() -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        await caller.send(pcm(recording("beckett.wav")[:32_000]))
        await caller.until("speech_start")
        await cut(caller)
        (live,) = server.service.registry._open()
        live.fail(ClientError(ErrorCode.TIMEOUT, "too late"))
        caller = await again(server, caller)
        assert await caller.rest() == 4008
    assert [event["type"] for event in caller.events[-2:]] == ["final_segment", "error"]
    assert caller.events[-1]["message"] == "too late"


async def test_what_was_warned_of_while_nobody_listened_is_told_again() -> None:
    """The text may be another one after DEGRADED: whoever is not told takes that for the same as ever."""
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        (live,) = server.service.registry._open()
        await cut(caller)
        while live.is_attached:
            await asyncio.sleep(0.01)
        live._receive_outcome(Thinned())
        for _ in range(2):
            caller = await again(server, caller)
            assert (await caller.until("warning"))["code"] == "DEGRADED"
            await cut(caller)


async def test_more_missed_events_than_may_wait_for_a_slow_reader() -> None:
    """A replay is as long as the log, whatever the limit for what waits."""
    async with running_server(FakeRecognizer(), max_unsent_events=10) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        await cut(caller)
        for number in range(40):
            caller = await again(server, caller, last_seq=0)
            caller.watch.seq = 0
            await caller.until("ready")
            await caller.send({"type": "flush", "id": number})
            while (await caller.until("flushed"))["id"] != number:
                pass
            await cut(caller)
        caller = await again(server, caller, last_seq=0)
        caller.watch.seq, before = 0, len(caller.events)
        await caller.send("END")
        assert await caller.rest() == 1000
    assert [event["id"] for event in caller.events[before:] if event["type"] == "flushed"] == list(range(40))


async def test_what_was_forgotten_is_said_to_be() -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        for number in range(REPLAY_EVENTS + 1):
            await caller.send({"type": "flush", "id": number})
            await caller.until("flushed")
        await cut(caller)
        lost = await again(server, caller, last_seq=0)
        assert await lost.rest() == 4010
        assert "after 0 are not kept" in lost.events[-1]["message"]
        caller.watch.connect()
        kept = await again(server, caller, last_seq=1)
        kept.watch.seq = 1
        await kept.send("END")
        assert await kept.rest() == 1000


async def test_ended_sessions_are_kept_for_those_who_missed_the_end() -> None:
    """As many as the server may have sessions, and the oldest go first; not fewer."""
    async with running_server(FakeRecognizer(), max_sessions=4) as server:
        ended: list[Caller] = []
        for _ in range(6):
            caller = await call(server.ws_url, INIT)
            await caller.until("ready")
            await caller.send("END")
            await caller.until("end_of_transcript")
            await cut(caller)
            ended.append(caller)
        closes = []
        for caller in ended:
            caller.watch.ended = False
            resumed = await again(server, caller)
            closes.append(await resumed.rest())
    assert closes == [4010, 4010, 1000, 1000, 1000, 1000]


async def test_a_full_server_lets_those_back_in_who_lost_their_connection() -> None:
    async with running_server(FakeRecognizer(), max_sessions=1) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        await cut(caller)
        while any(live.is_attached for live in server.service.registry._open()):
            await asyncio.sleep(0.01)
        stranger = await call(server.ws_url, INIT)
        assert (await stranger.until("error"))["code"] == "CAPACITY_FULL"
        resumed = await again(server, caller)
        assert (await resumed.until("ready"))["resumed"]
        await resumed.send("END")
        assert await resumed.rest() == 1000


async def test_a_full_server_lets_those_back_in_whose_old_socket_it_takes_for_alive() -> None:
    async with running_server(FakeRecognizer(), max_sessions=1) as server, Proxy(f"127.0.0.1:{server.port}") as network:
        caller = await call(network.ws_url, INIT)
        ready = await caller.until("ready")
        network.cut(Fault.FREEZE)
        with pytest.raises(InvalidStatus, match="503"):
            await call(f"{server.ws_url}?session_id=nobody", INIT)
        caller.watch.connect()
        names = {name: ready[name] for name in ("session_id", "resume_token")}
        resumed = await call(f"{server.ws_url}?session_id={ready['session_id']}", INIT | names)
        assert (await resumed.until("ready"))["resumed"]
        await resumed.send("END")
        assert await resumed.rest() == 1000


async def test_the_close_of_a_connection_that_was_replaced_does_no_harm() -> None:
    async with running_server(FakeRecognizer()) as server:
        for _ in range(10):
            caller = await call(server.ws_url, INIT)
            await caller.until("ready")
            resumed = await again(server, caller)
            await caller.socket.close(1000)
            assert (await resumed.until("ready"))["resumed"]
            await resumed.send("END")
            assert await resumed.rest() == 1000
            assert resumed.of("done")


@pytest.mark.parametrize("half", [{"session_id": "nobody"}, {"resume_token": "nothing"}])
async def test_half_of_a_resume_is_no_new_session(half: dict[str, str]) -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INIT | half)
        assert (await caller.until("error"))["code"] == "SESSION_NOT_FOUND"


async def test_nobody_is_timed_out_while_the_connection_is_away() -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INIT | {"inactivity_timeout": 1})
        await caller.until("ready")
        await cut(caller)
        await asyncio.sleep(1.5)
        resumed = await again(server, caller)
        assert (await resumed.until("ready"))["resumed"]
        await resumed.send("END")
        assert await resumed.rest() == 1000
        resumed = await call(server.ws_url, INIT | {"inactivity_timeout": 1})
        assert (await resumed.until("error"))["code"] == "TIMEOUT", "with one it is"
