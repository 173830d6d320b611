"""Promise 5, nothing is lost on resume: over real sockets that are cut, and on every bound there is."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from stream_server.transport.live import REPLAY_EVENTS
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


async def again(server: Running, caller: Caller, **init: Any) -> Caller:
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
