"""The server's side of live sessions, said by the test: which speakers real models would hear is not for a test of the
page to depend on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from playwright.async_api import BrowserContext, Page, WebSocketRoute

from tests.protocol.stand_in import fill_event


class ScriptedSessions:
    """Answers every session that pages open. ``refusal``: the error that the next one gets in place of `ready`."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.begun = asyncio.Event()
        self.refusal: Mapping[str, object] | None = None
        self._socket: WebSocketRoute | None = None
        self._seq = 0

    async def serve(self, pages: Page | BrowserContext) -> None:
        await pages.route_web_socket("**/ws*", self._open)

    def say(self, kind: str, **fields: object) -> None:
        """An event as the protocol has it; what is not said is that of its example."""
        assert self._socket is not None
        event = fill_event({"type": kind, **fields}, {})
        if "seq" in event:
            self._seq += 1
            event["seq"] = self._seq
        self._socket.send(json.dumps(event))

    def final(self, segment: int, *said: tuple[str, str]) -> None:
        """A final of five seconds: its words, each part of them with its speaker."""
        words = [(word, speaker) for text, speaker in said for word in text.split()]
        start = 5000 * segment
        self.say(
            "final_segment",
            segment_id=segment,
            text=" ".join(word for word, _ in words),
            offset_ms=start,
            duration_ms=4000,
            speaker=said[0][1],
            words=[
                {"word": word, "start_ms": at, "end_ms": at + 90, "confidence": 1, "speaker": speaker}
                for at, (word, speaker) in zip(range(start, start + 4000, 100), words, strict=False)
            ],
        )

    def revise(self, speakers: Mapping[int, Sequence[str]]) -> None:
        """The speakers of the words of each segment."""
        segments = [
            {"segment_id": segment, "speaker": words[0], "words": list(words)} for segment, words in speakers.items()
        ]
        self.say("speakers_revised", segments=segments)

    def _open(self, socket: WebSocketRoute) -> None:
        def receive(message: str | bytes) -> None:
            if isinstance(message, bytes):
                return
            match json.loads(message):
                case {"type": "init"} as init:
                    self._begin(socket, init)
                case {"type": "end"}:
                    self.say("done")

        socket.on_message(receive)

    def _begin(self, socket: WebSocketRoute, init: dict[str, Any]) -> None:
        self.inits.append(init)
        self._socket, self._seq = socket, 0
        if self.refusal is None:
            self.say("ready")
            self.begun.set()
            return
        self.say("error", **self.refusal)
        self.refusal = None
