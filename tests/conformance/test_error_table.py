"""Every code of the error table, produced over a plain socket: the event, the close code behind it, or the refusal.

The conversations are by hand and apart from the golden ones: frames are written and read byte for byte, and what a code
is closed with is taken from the table. A code without a conversation fails `test_every_code_has_a_conversation`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from stream_protocol.errors import ERROR_TABLE, ErrorCode
from tests.protocol.sound import synthesize
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm
from tests.support.wire import BINARY, CLOSE, PATIENCE, TEXT, Answer, Frame, Wire, handshake, websocket, wire

KEY: Final = "sk-right"
VOICE: Final = pcm(synthesize("speech", 16_000, 16_000))


class Stage:
    """A server, and connections that stay open to the end of the conversation."""

    def __init__(self, server: Running, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    async def connect(self, *messages: dict[str, Any] | bytes) -> Wire:
        connection = await self._stack.enter_async_context(websocket(self.server.port))
        await self.say(connection, *messages)
        return connection

    async def begin(self, **fields: Any) -> tuple[Wire, dict[str, Any]]:
        """A session, and its ``ready``."""
        connection = await self.connect({"dtype": "int16", **fields})
        return connection, await connection.until("ready")

    async def say(self, connection: Wire, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            is_text = isinstance(message, dict)
            await connection.send(Frame(TEXT, json.dumps(message).encode()) if is_text else Frame(BINARY, message))


Talk = Callable[[Stage], Awaitable[Wire]]
"""Gives the connection that ends with the error."""


@dataclass(frozen=True)
class Conversation:
    talk: Talk
    settings: dict[str, Any] = field(default_factory=dict)
    fails: bool = False


CONVERSATIONS: dict[ErrorCode, Conversation] = {}


def produces(code: ErrorCode, *, fails: bool = False, **settings: Any) -> Callable[[Talk], Talk]:
    def add(talk: Talk) -> Talk:
        CONVERSATIONS[code] = Conversation(talk, settings, fails)
        return talk

    return add


@produces(ErrorCode.INVALID_INIT)
async def _a_wrong_type(stage: Stage) -> Wire:
    return await stage.connect({"sample_rate": "fast"})


@produces(ErrorCode.PROTOCOL_ERROR)
async def _audio_first(stage: Stage) -> Wire:
    return await stage.connect(VOICE[:100])


@produces(ErrorCode.UNSUPPORTED_AUDIO)
async def _an_unknown_dtype(stage: Stage) -> Wire:
    return await stage.connect({"dtype": "int12"})


@produces(ErrorCode.AUTH_FAILED, api_keys=(KEY,))
async def _a_wrong_key(stage: Stage) -> Wire:
    return await stage.connect({"api_key": "sk-wrong"})


@produces(ErrorCode.MODEL_NOT_FOUND)
async def _an_unknown_model(stage: Stage) -> Wire:
    return await stage.connect({"model": "no-such-model"})


@produces(ErrorCode.LANGUAGE_NOT_SUPPORTED)
async def _an_unknown_language(stage: Stage) -> Wire:
    return await stage.connect({"language": "tlh"})


@produces(ErrorCode.MESSAGE_TOO_LARGE, max_message_bytes=1024)
async def _a_large_message(stage: Stage) -> Wire:
    connection, _ = await stage.begin()
    await stage.say(connection, VOICE[:2048])
    return connection


@produces(ErrorCode.RATE_LIMITED, api_keys=(KEY,), requests_per_minute=1)
async def _two_sessions_in_a_minute(stage: Stage) -> Wire:
    await stage.begin(api_key=KEY)
    return await stage.connect({"api_key": KEY})


@produces(ErrorCode.CAPACITY_FULL, max_sessions=1)
async def _one_who_might_have_come_to_resume(stage: Stage) -> Wire:
    """Where somebody has lost his connection, a full server lets connections in to hear what they come for."""
    lost, ready = await stage.begin()
    lost.writer.transport.abort()
    live = stage.server.service.registry.find(ready["session_id"], ready["resume_token"])
    async with asyncio.timeout(PATIENCE):
        while live.is_attached:
            await asyncio.sleep(0.01)
    return await stage.connect({"dtype": "int16"})


@produces(ErrorCode.TIMEOUT, init_timeout=0.1)
async def _nothing_at_all(stage: Stage) -> Wire:
    return await stage.connect()


@produces(ErrorCode.SESSION_NOT_FOUND)
async def _a_session_that_never_was(stage: Stage) -> Wire:
    return await stage.connect({"session_id": "none", "resume_token": "none", "last_seq": 0})


@produces(ErrorCode.SESSION_REPLACED)
async def _two_connections_of_one_session(stage: Stage) -> Wire:
    connection, ready = await stage.begin()
    session = {name: ready[name] for name in ("session_id", "resume_token")}
    await stage.begin(**session, last_seq=0)
    return connection


@produces(ErrorCode.SERVER_DRAINING, drain_timeout=0.1)
async def _a_shutdown(stage: Stage) -> Wire:
    connection, _ = await stage.begin()
    stage.server.server.should_exit = True
    return connection


@produces(ErrorCode.INTERNAL_ERROR, fails=True)
async def _a_model_that_fails(stage: Stage) -> Wire:
    connection, _ = await stage.begin()
    await stage.say(connection, VOICE, {"type": "end"})
    return connection


def test_every_code_has_a_conversation() -> None:
    assert set(CONVERSATIONS) == set(ErrorCode) == set(ERROR_TABLE)


@pytest.mark.parametrize("code", CONVERSATIONS)
async def test_a_code_over_a_socket(code: ErrorCode) -> None:
    conversation = CONVERSATIONS[code]
    recognizer = FakeRecognizer(fails=conversation.fails)
    async with running_server(recognizer, **conversation.settings) as server, AsyncExitStack() as stack:
        connection = await conversation.talk(Stage(server, stack))
        assert await connection.closing() == ERROR_TABLE[code].close_code
    error = connection.events[-1]
    assert (error["type"], error["code"]) == ("error", code)
    assert [event["type"] for event in connection.events].count("error") == 1
    assert error["message"]
    assert connection.frames[-1].opcode == CLOSE
    assert connection.frames[-2].opcode == TEXT, "the error is the last that is said"


# -- before the upgrade ------------------------------------------------------------------------------------------------


async def _refused(server: Running, *lines: str) -> Answer:
    async with wire(server.port) as connection:
        await connection.send(handshake(*lines))
        return await connection.answer()


async def _full(server: Running) -> Answer:
    async with websocket(server.port) as first:
        await first.send(Frame(TEXT, b'{"dtype":"int16"}'))
        await first.until("ready")
        return await _refused(server)


async def _draining(server: Running) -> Answer:
    server.service.limit.is_draining = True
    return await _refused(server)


REFUSALS: dict[ErrorCode, tuple[Callable[[Running], Awaitable[Answer]], dict[str, Any]]] = {
    ErrorCode.AUTH_FAILED: (lambda server: _refused(server, "Authorization: Bearer sk-wrong"), {"api_keys": (KEY,)}),
    ErrorCode.CAPACITY_FULL: (_full, {"max_sessions": 1}),
    ErrorCode.SERVER_DRAINING: (_draining, {}),
}
"""What can be said before there is a socket; the others need an init message."""


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_code_before_the_upgrade(code: ErrorCode) -> None:
    refuse, settings = REFUSALS[code]
    async with running_server(FakeRecognizer(), **settings) as server:
        answer = await refuse(server)
    assert answer.status == ERROR_TABLE[code].http_status
    assert answer.error["code"] == code
    assert answer.error["message"]
    assert ("retry-after" in answer.headers) == (answer.status == 503)
    assert ("www-authenticate" in answer.headers) == (answer.status == 401)
