"""RFC 6455 on the wire: the handshake, fragments, control frames, closes and UTF-8, byte for byte over a plain socket.

Whatever one socket does, a session beside it goes on: `bystander` is asked after every conversation.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.transport import protocol
from tests.protocol.sound import synthesize
from tests.support.caller import Caller, call
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm
from tests.support.wire import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Frame,
    Wire,
    close,
    handshake,
    websocket,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

INIT = b'{"dtype":"int16"}'
VOICE = pcm(synthesize("speech", 16_000, 16_000)) + bytes(32_000)

few = settings(max_examples=25, deadline=None)
many = settings(max_examples=80, deadline=None)


class Bystander:
    """A session that is open all the time, and answers when it is asked."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._asked = 0

    async def is_well(self) -> None:
        self._asked += 1
        await self.caller.send({"type": "flush", "id": self._asked})
        assert (await self.caller.until("flushed"))["id"] == self._asked


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running_server(FakeRecognizer(), max_message_bytes=2**17, max_sessions=5000) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bystander(server: Running) -> AsyncIterator[Bystander]:
    caller = await call(server.ws_url, {"dtype": "int16"})
    await caller.until("ready")
    yield Bystander(caller)
    await caller.send(VOICE, "END")
    assert await caller.rest() == 1000
    assert [final["text"] != "" for final in caller.finals] == [True]


# -- messages ----------------------------------------------------------------------------------------------------------

masks = st.binary(min_size=4, max_size=4)
controls = st.lists(st.builds(Frame, st.sampled_from((PING, PONG)), st.binary(max_size=125), mask=masks), max_size=3)


@st.composite
def fragmented(draw: st.DrawFn, opcode: int, payload: bytes) -> list[Frame]:
    """A message in fragments, empty ones among them, and control frames in between."""
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=5)))
    frames: list[Frame] = []
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(payload)])):
        is_last = number == len(cuts)
        frames.append(Frame(CONT if number else opcode, payload[start:end], fin=is_last, mask=draw(masks)))
        frames += draw(controls)
    return frames


@st.composite
def conversations(draw: st.DrawFn) -> list[Frame]:
    frames = draw(fragmented(TEXT, INIT))
    cuts = sorted(draw(st.lists(st.integers(0, len(VOICE)), max_size=3)))
    for start, end in zip([0, *cuts], [*cuts, len(VOICE)], strict=True):
        if end > start:  # an empty message is the end
            frames += draw(fragmented(BINARY, VOICE[start:end]))
    return [*frames, *draw(fragmented(TEXT, b"END"))]


async def converse(server: Running, frames: Sequence[Frame], pieces: Sequence[int] = ()) -> Wire:
    """Send all of it, cut at the bytes ``pieces``; the conversation as it was when the server had closed it."""
    data = b"".join(frame.encode() for frame in frames)
    cuts = sorted({at for at in pieces if at < len(data)})
    async with websocket(server.port) as connection:
        parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        sending = asyncio.create_task(connection.send(*parts))
        assert await connection.closing() == 1000
        await sending
        await connection.send(close(1000))
        assert await connection.ends() == b""
        return connection


def said(connection: Wire) -> list[Any]:
    """What was recognized, without what differs from session to session."""
    return [(event["text"], event["words"]) for event in connection.events if event["type"] == "final_segment"]


@few
@given(frames=conversations(), pieces=st.lists(st.integers(1, 70_000), max_size=10))
async def test_a_conversation_in_fragments(
    server: Running, bystander: Bystander, frames: list[Frame], pieces: list[int]
) -> None:
    whole = await converse(server, [Frame(TEXT, INIT), Frame(BINARY, VOICE), Frame(TEXT, b"END")])
    assert said(whole)
    connection = await converse(server, frames, pieces)
    assert said(connection) == said(whole)
    pings = [frame.payload for frame in frames if frame.opcode == PING]
    assert [frame.payload for frame in connection.frames if frame.opcode == PONG] == pings
    assert all(not frame.reserved and frame.fin for frame in connection.frames)
    await bystander.is_well()


@few
@given(
    data=st.data(),
    words=st.lists(st.text(st.characters(codec="utf-8", categories=["L", "So"]), min_size=1), max_size=5),
)
async def test_characters_that_are_cut_by_fragments(
    server: Running, bystander: Bystander, data: st.DataObject, words: list[str]
) -> None:
    message = json.dumps({"type": "configure", "keyterms": words}, ensure_ascii=False).encode()
    async with websocket(server.port) as connection:
        await connection.send(Frame(TEXT, INIT), *data.draw(fragmented(TEXT, message)))
        assert (await connection.until("configured"))["config"]["keyterms"] == words
    await bystander.is_well()


# -- what is not allowed -----------------------------------------------------------------------------------------------


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


async def refused(server: Running, *frames: Frame | bytes, greeted: bool) -> Wire:
    """Send what is not allowed, as a first message or behind an init."""
    async with websocket(server.port) as connection:
        if greeted:
            await connection.send(Frame(TEXT, INIT))
            await connection.until("ready")
        await connection.send(*frames)
        await connection.closing()
        return connection


def assert_told(connection: Wire, code: int, error: str = "PROTOCOL_ERROR") -> None:
    assert connection.close_code == code
    assert connection.events[-1]["type"] == "error"
    assert connection.events[-1]["code"] == error
    assert connection.frames[-1].opcode == CLOSE, "nothing is sent behind a close"


bad_text = st.one_of(
    st.binary(max_size=50),
    st.builds(lambda a, b: a.encode() + b"\xed\xa0\x80" + b.encode(), st.text(), st.text()),  # half a surrogate pair
    st.builds(lambda a: a.encode() + b"\xf0\x9f\x98", st.text()),  # a character without its end
    st.builds(lambda a: b"\xc0\xaf" + a.encode(), st.text()),  # longer than it needs to be
).filter(lambda data: not is_utf8(data))


@many
@given(data=st.data(), text=bad_text, greeted=st.booleans())
async def test_text_that_is_not_utf8(
    server: Running, bystander: Bystander, data: st.DataObject, text: bytes, greeted: bool
) -> None:
    connection = await refused(server, *data.draw(fragmented(TEXT, text)), greeted=greeted)
    assert_told(connection, 1007)
    await bystander.is_well()


part = Frame(TEXT, b'{"type":', fin=False)
data_frames = st.builds(Frame, st.sampled_from((TEXT, BINARY)), st.binary(max_size=200), st.booleans())
control_frames = st.builds(Frame, st.sampled_from((PING, PONG, CLOSE)), st.just(b""))
any_frame = st.one_of(data_frames, control_frames)

violations = st.one_of(
    st.builds(lambda frame, bits: [replace(frame, reserved=bits)], any_frame, st.integers(1, 7)),
    st.builds(
        lambda code, data: [Frame(code, data)], st.sampled_from((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), st.binary()
    ),
    st.builds(lambda frame: [replace(frame, mask=None)], any_frame),
    st.builds(lambda frame: [replace(frame, fin=False)], control_frames),
    st.builds(lambda frame, size: [replace(frame, payload=bytes(size))], control_frames, st.integers(126, 70_000)),
    st.builds(lambda data, fin: [Frame(CONT, data, fin)], st.binary(max_size=50), st.booleans()),
    st.builds(lambda frame, between: [part, *between, frame], data_frames, controls),
    st.builds(lambda byte: [Frame(CLOSE, byte)], st.binary(min_size=1, max_size=1)),
    st.builds(
        lambda code, reason: [close(code, reason.encode()[:100].decode(errors="ignore").encode())],
        st.one_of(
            st.integers(0, 999),
            st.sampled_from((1004, 1005, 1006, 1015)),
            st.integers(1016, 2999),
            st.integers(5000, 65_535),
        ),
        st.text(),
    ),
    st.just([part, close(1000)]),
)


@many
@given(frames=violations, greeted=st.booleans())
async def test_frames_that_are_not_allowed(
    server: Running, bystander: Bystander, frames: list[Frame], greeted: bool
) -> None:
    connection = await refused(server, *frames, greeted=greeted)
    assert_told(connection, 1002)
    await bystander.is_well()


@few
@given(reason=bad_text, code=st.sampled_from((1000, 1001, 3000, 4999)))
async def test_a_reason_that_is_not_utf8(server: Running, bystander: Bystander, reason: bytes, code: int) -> None:
    if not is_utf8(reason[:123]):
        assert_told(await refused(server, close(code, reason[:123]), greeted=True), 1007)
    await bystander.is_well()


@pytest.mark.parametrize("size", [2**17 + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("first", [True, False], ids=["first", "after a fragment"])
async def test_a_length_that_is_too_much_is_not_waited_for(
    server: Running, bystander: Bystander, size: int, first: bool
) -> None:
    """The close comes as soon as the length is known, before any of the payload."""
    before = b"" if first else Frame(BINARY, b"\0\0", fin=False).encode()
    head = bytes([0x80 | (BINARY if first else CONT), 0xFF]) + struct.pack("!Q", size) + bytes(4)
    assert_told(await refused(server, before + head, greeted=True), 1009, "MESSAGE_TOO_LARGE")
    await bystander.is_well()


async def test_the_socket_is_shut_after_a_violation(
    server: Running, bystander: Bystander, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER", 0.1)
    async with websocket(server.port) as connection:
        await connection.send(Frame(7))
        assert await connection.closing() == 1002
        await connection.send(Frame(TEXT, INIT), Frame(7), Frame(PING, b"?"), b"\xff" * 1000)
        assert await connection.ends() == b""
    await bystander.is_well()


@many
@given(noise=st.binary(min_size=1, max_size=300), greeted=st.booleans())
async def test_noise(server: Running, bystander: Bystander, noise: bytes, greeted: bool) -> None:
    """Whatever it is taken for, the server goes on, and leaves no session behind that nobody can come back to."""
    async with websocket(server.port) as connection:
        await connection.send(*([Frame(TEXT, INIT)] if greeted else []), noise)
        connection.writer.write_eof()
        await connection.ends()
    await bystander.is_well()


# -- pings and closes --------------------------------------------------------------------------------------------------


@few
@given(payloads=st.lists(st.binary(max_size=125), min_size=1, max_size=20), greeted=st.booleans())
async def test_every_ping_is_answered_in_order(
    server: Running, bystander: Bystander, payloads: list[bytes], greeted: bool
) -> None:
    async with websocket(server.port) as connection:
        await connection.send(*([Frame(TEXT, INIT)] if greeted else []))
        await connection.send(*[Frame(PING, payload) for payload in payloads], close())
        await connection.closing()
    assert [frame.payload for frame in connection.frames if frame.opcode == PONG] == payloads
    await bystander.is_well()


CLOSES = st.one_of(
    st.just((None, "")),
    st.tuples(
        st.one_of(st.sampled_from((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011)), st.integers(3000, 4999)),
        st.text(max_size=30),
    ),
)


@many
@given(ending=CLOSES, more=st.lists(any_frame, max_size=3), greeted=st.booleans())
async def test_a_close_is_answered_with_itself(
    server: Running, bystander: Bystander, ending: tuple[int | None, str], more: list[Frame], greeted: bool
) -> None:
    """What comes behind it is not looked at, and then the socket is shut."""
    frame = close(ending[0], ending[1].encode())
    async with websocket(server.port) as connection:
        if greeted:
            await connection.send(Frame(TEXT, INIT))
            await connection.until("ready")
        await connection.send(b"".join(part.encode() for part in (frame, *more)))
        await connection.closing()
        assert connection.frames[-1].payload == frame.payload
        assert await connection.ends() == b""
    await bystander.is_well()


async def test_a_close_on_purpose_ends_the_session_and_a_cut_does_not(server: Running, bystander: Bystander) -> None:
    sessions = server.service.registry._sessions
    for frame, kept in ((close(1000), False), (close(1001), False), (close(3000), True), (None, True)):
        async with websocket(server.port) as connection:
            await connection.send(Frame(TEXT, INIT))
            session = (await connection.until("ready"))["session_id"]
            if frame is not None:
                await connection.send(frame)
                await connection.closing()
        async with asyncio.timeout(PATIENCE):
            while (session in sessions and sessions[session].is_attached) or (not kept and session in sessions):
                await asyncio.sleep(0.01)
        assert (session in sessions) == kept
    await bystander.is_well()


# -- what is endless ---------------------------------------------------------------------------------------------------


def protocols(server: Running) -> list[Any]:
    return [one for one in server.server.server_state.connections if isinstance(one, protocol.StreamProtocol)]


async def test_fragments_without_end_and_content_take_no_memory(server: Running, bystander: Bystander) -> None:
    async with websocket(server.port) as connection:
        await connection.send(Frame(TEXT, INIT), Frame(TEXT, b"", fin=False))
        await connection.until("ready")
        for _ in range(50):
            await connection.send(Frame(CONT, b"", fin=False).encode() * 2000, Frame(PING))
            assert (await connection.frame()).opcode == PONG, "all of it has been read"
            assert max(len(one.frames) for one in protocols(server)) <= 1
        await connection.send(Frame(CONT, b'{"type":"flush","id":7}'))
        assert (await connection.until("flushed"))["id"] == 7
    await bystander.is_well()


async def test_pings_of_one_who_does_not_read(server: Running, bystander: Bystander) -> None:
    """Answers do not pile up: the socket takes what it holds, and only the last pings wait."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", server.port))
        narrow.setblocking(False)
        before = set(protocols(server))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1024)
        connection = Wire(reader, writer)
        await connection.send(handshake())
        async with asyncio.timeout(PATIENCE):
            while not (mine := set(protocols(server)) - before):
                await asyncio.sleep(0.01)
        (own,) = mine
        pings = Frame(PING, bytes(125)).encode() * 1000
        for _ in range(200):  # 26 MB
            await connection.send(pings)
            assert own.transport.get_write_buffer_size() + len(own._pong) < 2**20
        assert not own.writable.is_set(), "the socket was not full, so nothing was tested"
        writer.transport.abort()
    await bystander.is_well()


# -- the handshake -----------------------------------------------------------------------------------------------------

ACCEPTED: dict[str, bytes] = {
    "as usual": handshake(),
    "names in capitals": handshake().replace(b"Upgrade: websocket", b"UPGRADE: WebSocket"),
    "several options": handshake("Connection: keep-alive, Upgrade", without=["connection"]),
    "an extension": handshake("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
    "an unknown extension": handshake("Sec-WebSocket-Extensions: x-snappy; level=3, mux"),
    "a protocol": handshake("Sec-WebSocket-Protocol: chat, superchat"),
    "an empty body": handshake("Content-Length: 0"),
    "a token that nobody looks at yet": handshake(first="GET /ws?token=%00%ff&x=%F0%9F HTTP/1.1"),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_handshake(server: Running, bystander: Bystander, case: str) -> None:
    async with wire(server.port) as connection:
        await connection.send(ACCEPTED[case])
        answer = await connection.answer()
        assert answer.status == 101
        assert answer.headers["sec-websocket-accept"] == ACCEPT
        assert answer.headers["upgrade"].lower() == "websocket"
        assert answer.headers["connection"].lower() == "upgrade"
        assert "sec-websocket-extensions" not in answer.headers, "none was agreed on"
        assert "sec-websocket-protocol" not in answer.headers
        await connection.send(Frame(PING, b"?"))
        assert (await connection.frame()).payload == b"?"
    await bystander.is_well()


REFUSED: dict[str, tuple[bytes, int]] = {
    "another version": (handshake("Sec-WebSocket-Version: 8", without=["sec-websocket-version"]), 400),
    "no version": (handshake(without=["sec-websocket-version"]), 400),
    "no key": (handshake(without=["sec-websocket-key"]), 400),
    "two keys": (handshake(f"Sec-WebSocket-Key: {KEY}"), 400),
    "a short key": (handshake("Sec-WebSocket-Key: AAAA", without=["sec-websocket-key"]), 400),
    "a key that is no base64": (handshake("Sec-WebSocket-Key: ????????????????????????"), 400),
    "another method": (handshake(first="POST /ws HTTP/1.1"), 405),
    "a body": (handshake("Content-Length: 5") + b"hello", 400),
    "a body in chunks": (handshake("Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "a header beyond ASCII": (handshake("Sec-WebSocket-Key: \xff\xfe", without=["sec-websocket-key"]), 400),
    "a long header": (handshake("X-Long: " + "x" * 20_000), 431),
    "a long address": (handshake(first=f"GET /ws?token={'x' * 20_000} HTTP/1.1"), 414),
    "another path": (handshake(first="GET /nowhere HTTP/1.1"), 403),
    "no upgrade": (handshake(without=["connection", "upgrade"]), 404),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_handshake(server: Running, bystander: Bystander, case: str) -> None:
    data, status = REFUSED[case]
    async with wire(server.port) as connection:
        await connection.send(data)
        answer = await connection.answer()
        assert answer.status == status
        if case != "no upgrade":
            assert await connection.ends() == b"", "it is of no use any more"
    await bystander.is_well()


@many
@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(
                ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions")
            ),
            st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
        ),
        max_size=4,
    ),
    without=st.lists(st.sampled_from(("upgrade", "connection", "sec-websocket-key", "sec-websocket-version"))),
)
async def test_any_handshake_gets_an_answer(
    server: Running, bystander: Bystander, lines: list[tuple[str, str]], without: list[str]
) -> None:
    async with wire(server.port) as connection:
        await connection.send(handshake(*[f"{name}: {value}" for name, value in lines], without=without))
        answer = await connection.answer()
        assert answer.status in (101, 400, 404, 426)
    await bystander.is_well()
