"""The replayer against servers that say what a test tells them to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from stream_protocol import Init, decode_init
from tests.protocol.replay import Closed, Refused, replay
from tests.protocol.stand_in import fill_event
from tests.protocol.vector import parse_vector

Line = dict[str, Any] | Closed

READY = fill_event({"type": "ready"}, {})
START = fill_event({"type": "speech_start", "seq": 1}, {})
PARTIAL = fill_event({"type": "partial", "seq": 2}, {})
STOP = fill_event({"type": "speech_end", "seq": 3}, {})
FINAL = fill_event({"type": "final_segment", "seq": 4}, {})
END = fill_event({"type": "end_of_transcript", "seq": 5}, {})
DONE = fill_event({"type": "done", "seq": 6}, {})
WHOLE: list[Line] = [READY, START, PARTIAL, STOP, FINAL, END, DONE, Closed(1000)]


class Script:
    """A connection that says one thing after the other, and writes down what it is told."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = list(lines)
        self.heard: list[str | bytes] = []
        self.dropped = False

    async def send(self, frame: str | bytes) -> None:
        self.heard.append(frame)

    async def receive(self) -> str | Closed:
        if not self.lines:
            await asyncio.Event().wait()
        line = self.lines.pop(0)
        return line if isinstance(line, Closed) else json.dumps(line)

    async def drop(self) -> None:
        self.dropped = True


class ScriptedServer:
    """Hands out the scripts in turn."""

    def __init__(self, *scripts: Script | Refused) -> None:
        self.scripts = list(scripts)
        self.asked: list[tuple[dict[str, str], str]] = []
        self.draining = False

    async def connect(self, headers: Mapping[str, str], query: str) -> Script | Refused:
        self.asked.append((dict(headers), query))
        return self.scripts.pop(0)

    async def drain(self) -> None:
        self.draining = True


async def play(server: ScriptedServer, *steps: dict[str, Any]) -> None:
    head = {"description": "d", "rule": "r"}
    vector = parse_vector("test", "\n".join(json.dumps(line) for line in (head, *steps)))
    await replay(vector, server, limit_sec=5)


def client(**step: Any) -> dict[str, Any]:
    return {"dir": "client", **step}


def server(**step: Any) -> dict[str, Any]:
    return {"dir": "server", **step}


async def test_a_whole_conversation() -> None:
    script = Script(WHOLE)
    await play(
        ScriptedServer(script),
        client(text={"type": "init", "dtype": "int16"}),
        server(event={"type": "ready", "session_id": {"$save": "session"}}),
        client(audio={"kind": "speech", "seconds": 0.25}),
        client(audio={"kind": "silence", "seconds": 0.1, "json_frames": True}),
        client(audio={"kind": "bytes", "bytes_b64": ""}),
        server(event={"type": "speech_start"}),
        server(event={"type": "speech_end"}),
        client(text={"type": "flush", "id": {"$saved": "session"}}),
        server(events="until", type="done", include=[{"type": "final_segment"}], count={"final_segment": 1}),
        server(close=1000),
    )
    init, *audio, in_json, empty, flush = script.heard
    assert isinstance(decode_init(init), Init)
    assert [len(frame) for frame in audio] == [3200, 3200, 1600]
    assert json.loads(in_json)["type"] == "frame"
    assert empty == b""
    assert json.loads(flush)["id"] == READY["session_id"]


INIT = client(text={})
WHOLE_STEPS = [INIT, server(events="until", type="done"), server(close=1000)]

WRONG = {
    "another event": (
        [READY, START, Closed(1000)],
        [INIT, server(event={"type": "ready"}), server(event={"type": "done"})],
    ),
    "an event that is none": ([{**READY, "config": None}], [INIT, server(event={"type": "ready"})]),
    "a gap": ([READY, START, STOP], [INIT, server(events="until", type="speech_end")]),
    "no promise kept": ([READY, {**FINAL, "seq": 1}], [INIT, server(events="until", type="final_segment")]),
    "an error in between": ([READY, fill_event({"type": "error"}, {})], WHOLE_STEPS),
    "closed too early": ([*WHOLE[:-2], Closed(1000)], WHOLE_STEPS),
    "closed otherwise": ([*WHOLE[:-1], Closed(1011)], WHOLE_STEPS),
    "more after the end": ([*WHOLE[:-1], DONE, Closed(1000)], WHOLE_STEPS),
    "not refused": ([], [client(connect={}), server(http=503)]),
}


@pytest.mark.parametrize(("lines", "steps"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_seen(lines: list[Line], steps: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError, match=r"^test:\d+: "):
        await play(ScriptedServer(Script(lines)), *steps)


async def test_a_refusal_before_the_upgrade() -> None:
    busy = ScriptedServer(Refused(503, {"retry-after": "5"}))
    steps = client(connect={"headers": {"authorization": "Bearer k"}, "query": "token=t"})
    await play(busy, steps, server(http=503, headers={"retry-after": {"$text": True}}))
    assert busy.asked == [({"authorization": "Bearer k"}, "token=t")]
    with pytest.raises(AssertionError, match="status"):
        await play(ScriptedServer(Refused(503, {})), client(connect={}), server(http=401))


async def test_a_session_over_two_connections() -> None:
    first = Script([READY, START, PARTIAL])
    second = Script([{**READY, "resumed": True, "received_samples": 2400}, STOP, FINAL, END, DONE, Closed(1000)])
    await play(
        ScriptedServer(first, second),
        client(text={}, on="a"),
        server(event={"type": "ready"}, on="a"),
        client(audio={"kind": "speech", "seconds": 0.2, "dtype": "int16"}, on="a"),
        server(event={"type": "speech_start"}, on="a"),
        server(event={"type": "partial", "seq": {"$save": "seq"}}, on="a"),
        client(drop=True, on="a"),
        client(text={"last_seq": {"$saved": "seq"}}, on="b"),
        server(event={"type": "ready", "received_samples": {"$save": "received"}}, on="b"),
        client(resend="a", start="received", on="b"),
        server(events="until", type="done", on="b"),
        server(close=1000, on="b"),
    )
    assert first.dropped
    message, *audio = second.heard
    assert json.loads(message) == {"last_seq": 2}
    assert (
        b"".join(frame for frame in audio if isinstance(frame, bytes))
        == b"".join(frame for frame in first.heard if isinstance(frame, bytes))[4800:]
    )


async def test_a_replaced_connection_does_not_speak_for_the_session() -> None:
    replaced = fill_event({"type": "error", "code": "SESSION_REPLACED"}, {})
    first, second = Script([READY, replaced, Closed(4011)]), Script([{**READY, "resumed": True}, *WHOLE[1:]])
    await play(
        ScriptedServer(first, second),
        client(text={}, on="a"),
        server(event={"type": "ready"}, on="a"),
        client(text={}, on="b"),
        server(event={"type": "ready"}, on="b"),
        server(event={"type": "error", "code": "SESSION_REPLACED"}, on="a"),
        server(close=4011, on="a"),
        server(events="until", type="done", on="b"),
        server(close=1000, on="b"),
    )


async def test_drain_and_wait() -> None:
    peer = ScriptedServer()
    await play(peer, server(drain=True), client(wait=0.001))
    assert peer.draining


async def test_silence_of_the_server_is_a_timeout() -> None:
    vector = parse_vector("test", '{"description": "d", "rule": "r"}\n{"dir": "server", "close": 1000}')
    with pytest.raises(TimeoutError):
        await replay(vector, ScriptedServer(Script([])), limit_sec=0.01)
