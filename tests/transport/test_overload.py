"""More than the server can do, over real sockets: who gets in, what he is told, and that nothing is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import InvalidStatus

from stream_server.engine.capacity import FREE_STREAMS
from stream_server.engine.recognizer import Task
from stream_server.engine.work import SAMPLE_RATE, Hypothesis
from tests.protocol.sound import synthesize
from tests.support.caller import Caller, call
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm
from tests.transport.test_bad_input import wav_header

INIT = {"dtype": "int16"}
UTTERANCE = pcm(synthesize("speech", 16_000, 16_000)) + bytes(2 * 24_000)


@dataclass
class Slow(FakeRecognizer):
    """A step takes ``pace`` seconds for every second of its audio."""

    pace: float = 0.05

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        time.sleep(self.pace * sum(len(task.audio) for task in tasks) / SAMPLE_RATE)
        return super().step(tasks)


@dataclass
class Refused:
    """``status`` 0: after the upgrade."""

    status: int
    code: str
    retry_after: float | None


async def come(server: Running, **options: Any) -> Caller | Refused:
    """Connect, and be let in or not."""
    try:
        caller = await call(server.ws_url, INIT, **options)
    except InvalidStatus as error:
        wait = error.response.headers.get("Retry-After")
        return Refused(error.response.status_code, "CAPACITY_FULL", float(wait) if wait else None)
    first = await caller.receive()
    if first["type"] == "ready":
        return caller
    assert await caller.rest() == 1013
    return Refused(0, first["code"], first.get("retry_after"))


async def test_a_crowd_is_held_to_what_was_measured_and_the_rest_is_told_when_to_come() -> None:
    async with running_server(Slow(), admission="measured") as server:
        came = await asyncio.gather(*(come(server) for _ in range(80)))
        admitted = [each for each in came if isinstance(each, Caller)]
        refused = [each for each in came if isinstance(each, Refused)]
        assert FREE_STREAMS <= len(admitted) <= 16, "a second of speech is decoded one and a half times, at 0.05 s each"
        assert {each.code for each in refused} == {"CAPACITY_FULL"}
        assert all(each.retry_after is not None and each.retry_after >= 1 for each in refused)
        late = await come(server)
        assert isinstance(late, Refused)
        assert late.status == 503, "before the upgrade, where it is known by then"
        for caller in admitted:
            await caller.send(UTTERANCE, "END")
        assert await asyncio.gather(*(caller.rest() for caller in admitted)) == [1000] * len(admitted)
        assert all(len(caller.finals) == 1 for caller in admitted)


async def test_who_comes_after_the_crowd_has_gone_gets_in() -> None:
    async with running_server(Slow(), admission="measured") as server:
        for _ in range(2):
            admitted = [each for each in [await come(server) for _ in range(30)] if isinstance(each, Caller)]
            assert FREE_STREAMS <= len(admitted) < 30
            for caller in admitted:
                await caller.send("END")
                assert await caller.rest() == 1000


async def test_the_operator_can_let_everybody_in() -> None:
    async with running_server(Slow(), admission="fixed", max_sessions=40) as server:
        came = [await come(server) for _ in range(41)]
        assert Counter(type(each) for each in came) == {Caller: 40, Refused: 1}
        for caller in came:
            if isinstance(caller, Caller):
                await caller.socket.close()


async def test_a_sender_who_is_too_fast_is_held_by_his_socket_and_loses_nothing() -> None:
    gate = threading.Event()
    most = 4.0
    async with running_server(FakeRecognizer(gate=gate), max_backlog=most) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        live = next(iter(server.service.registry._sessions.values()))
        count = 200
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(count):
                await caller.send(UTTERANCE)
                sent += 1
            await caller.send("END")

        flooding = asyncio.create_task(flood())
        levels = []
        while not levels or levels[-1] < 1.0:
            levels.append((await caller.until("warning"))["level"])
        assert levels == sorted(levels)
        assert levels[0] < 1.0, "it is told before it is held"
        before = -1
        while sent != before:  # until the socket takes nothing more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < count, "the rest waits on the caller's side"
        stream = live._streams[0]
        assert stream.planner.backlog / SAMPLE_RATE < most + 2.5, "no more than the frame that was under way"
        gate.set()
        assert await caller.rest() == 1000
        await flooding
        assert len(caller.finals) == count
        assert caller.of("warning")[-1]["level"] < 0.25, "and that it is over"


async def test_a_reader_who_is_too_slow_is_closed_with_a_code_that_says_so() -> None:
    async with running_server(FakeRecognizer(), max_unsent_events=20) as server:
        caller = await call(server.ws_url, INIT, max_queue=1)
        await caller.until("ready")
        live = next(iter(server.service.registry._sessions.values()))
        outbox = live._outbox
        assert outbox is not None
        big = {"type": "configure", "keyterms": ["x" * 100] * 100}
        flood = asyncio.create_task(caller.send(*[big] * 5000))
        while not outbox.overflowed.is_set():
            await asyncio.sleep(0.01)
        assert len(outbox._waiting) <= 20
        assert await caller.rest() == 4008
        assert caller.socket.close_reason == "events are not being read"
        await asyncio.gather(flood, return_exceptions=True)


async def test_channels_that_only_the_header_tells_of_are_admitted_as_the_others_are() -> None:
    async with running_server(Slow(pace=0.3), admission="measured") as server:
        codes = []
        for channels in (FREE_STREAMS, 8):
            caller = await call(server.ws_url, INIT)
            await caller.until("ready")
            await caller.send(wav_header(channels=channels) + bytes(3200 * channels), "END")
            codes.append(await caller.rest())
        assert codes == [1000, 1013]
        error = caller.of("error")[0]
        assert error["code"] == "CAPACITY_FULL"
        assert error["retry_after"] >= 1
        assert (server.service.engine.streams, server.service.limit.taken) == (0, 0)
