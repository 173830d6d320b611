"""Faults of ours around a session: its place is given back, its caller told, the log says why, and the others go on."""

from __future__ import annotations

from typing import Any

import pytest

from stream_protocol.errors import ErrorCode, ServerError
from stream_server.engine.recognizer import Stream
from stream_server.engine.slots import Slot
from stream_server.engine.stream import EngineStream
from stream_server.session import Session
from stream_server.transport import registry as registry_module
from stream_server.transport.outbox import Outbox
from stream_server.transport.registry import Registry
from tests.protocol.sound import synthesize
from tests.support.caller import Caller, call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm
from tests.transport.test_resume import again

INIT = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
DRAINING = ServerError(ErrorCode.SERVER_DRAINING, "the server is shutting down; connect again", retry_after=1.0)


def fail(*_: Any, **__: Any) -> Any:
    raise ValueError("a fault of ours")


class Broken(FakeRecognizer):
    """Cannot make the state of a stream, until it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = True

    def new_stream(self, slot: Slot) -> Stream:
        if self.broken:
            fail()
        return super().new_stream(slot)


async def is_told(caller: Caller) -> None:
    assert await caller.rest() == 1011
    assert caller.events[-1]["code"] == "INTERNAL_ERROR"


async def greeted(server: Running, **init: Any) -> Caller:
    caller = await call(server.ws_url, INIT | init)
    await caller.until("ready")
    return caller


async def test_a_session_whose_streams_cannot_be_made_holds_no_place(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Broken()
    async with running_server(recognizer, max_sessions=2) as server:
        for _ in range(3):
            await is_told(await call(server.ws_url, INIT))
        assert (server.service.limit.taken, server.service.engine.streams) == (0, 0)
        assert "a fault of ours" in caplog.text
        recognizer.broken = False
        assert (await transcribe(server.ws_url, VOICE, INIT)).finals


async def test_a_session_that_cannot_be_made_holds_no_place(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(FakeRecognizer(), max_sessions=2) as server:
        with monkeypatch.context() as patched:
            patched.setattr(registry_module, "Session", fail)
            for _ in range(3):
                await is_told(await call(server.ws_url, INIT))
        assert server.service.limit.taken == 0
        assert "a fault of ours" in caplog.text
        assert (await transcribe(server.ws_url, VOICE, INIT)).finals


async def test_a_session_that_never_had_a_socket_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server(FakeRecognizer(), resume_window=0.1) as server:
        with monkeypatch.context() as patched:
            patched.setattr(Session, "ready", fail)
            await is_told(await call(server.ws_url, INIT))
        (live,) = server.service.registry._sessions.values()
        await live.closed.wait()
        assert server.service.limit.taken == 0


async def test_a_fault_while_a_message_is_taken_in_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await greeted(server)
        with monkeypatch.context() as patched:
            patched.setattr(EngineStream, "backlog", property(fail))
            await caller.send(VOICE)
            await is_told(caller)
        assert "a fault of ours" in caplog.text
        assert server.service.limit.taken == 0


async def test_a_fault_while_events_are_written_leaves_a_session_that_can_be_resumed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await greeted(server)
        with monkeypatch.context() as patched:
            patched.setattr(Outbox, "get", fail)
            await caller.send(VOICE, {"type": "flush"})  # the writer asks for the next event when this one is written
            await is_told(caller)
        assert "a fault of ours" in caplog.text
        caller.watch.ended = False
        resumed = await again(server, caller)
        assert (await resumed.until("ready"))["resumed"]
        await resumed.send("END")
        assert await resumed.rest() == 1000


async def test_a_fault_in_one_session_spoils_no_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server(FakeRecognizer()) as server:
        faulty, other = await greeted(server), await greeted(server, acks=True)
        first = next(iter(server.service.registry._sessions.values()))
        monkeypatch.setattr(first.session, "warn", fail)
        await other.send(VOICE)
        await other.until("speech_start")
        assert await server.service.registry.drain(DRAINING, patience=0.1) == 0
        await is_told(faulty)
        assert await other.rest() == 1012
        assert other.finals


async def test_a_drain_that_fails_is_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "drain", fail)
    async with running_server(FakeRecognizer()):
        pass
    assert "the drain failed" in caplog.text
    assert "a fault of ours" in caplog.text


async def test_who_is_let_back_in_counts_as_nobody_refused() -> None:
    async with running_server(FakeRecognizer(), max_sessions=1, retry_after=1.0) as server:
        caller = await greeted(server)
        ready = caller.of("ready")[0]
        for _ in range(100):
            server.service.registry.check_admission(ready["session_id"])
        with pytest.raises(ServerError) as refused:
            server.service.registry.check_admission(None)
        assert refused.value.retry_after == 1.0
        await caller.send("END")
        assert await caller.rest() == 1000
