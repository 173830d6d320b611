"""A server of a few lines for the client's tests: every second of audio is one segment. It can break when told to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from stream_client._transport import MemoryTransport, Transport, TransportClosed, memory_pair
from stream_client.error import StreamClientError
from stream_protocol import Event, Word, encode_event
from stream_protocol.events import (
    Ack,
    Configured,
    Done,
    EndOfTranscript,
    FinalSegment,
    Flushed,
    Partial,
    Ready,
    SpeechEnd,
    SpeechStart,
)

RATE = 1000  # samples a second: one byte per sample (ulaw) is one millisecond
AUDIO: dict[str, Any] = {"dtype": "ulaw", "sample_rate": 8000}  # the rate is not looked at


class Session:
    """What survives a connection. Text of a segment: the values of its first bytes, so that lost audio shows."""

    def __init__(self) -> None:
        self.audio = bytearray()
        self.log: list[Event] = []
        self.heard: list[str] = []  # control messages, in order
        self.ended = False

    def receive(self, frame: bytes | str) -> list[Event]:
        first = len(self.log)
        if isinstance(frame, bytes):
            for start in range(0, len(frame), 500):
                self._audio(frame[start : start + 500])
        else:
            message = json.loads(frame)
            self.heard.append(message["type"])
            match message["type"]:
                case "flush":
                    self._add(Flushed, id=message["id"])
                case "configure":
                    self._add(Configured, config=message)
                case "end" if not self.ended:
                    self.ended = True
                    self._add(EndOfTranscript, text=self.text)
                    self._add(
                        Done,
                        total_segments=len(self.audio) // RATE,
                        total_audio_duration_sec=len(self.audio) / RATE,
                        connection_duration_sec=1.0,
                    )
        return self.log[first:]

    @property
    def text(self) -> str:
        return " ".join(event.text for event in self.log if isinstance(event, FinalSegment))

    def _audio(self, piece: bytes) -> None:
        for byte in piece:
            segment, offset = divmod(len(self.audio), RATE)
            self.audio.append(byte)
            if offset == 0:
                self._add(SpeechStart, segment_id=segment, offset_ms=segment * RATE)
            elif offset == RATE // 2 - 1:
                self._add(
                    Partial,
                    segment_id=segment,
                    text=f"{byte:03d}",
                    stable_chars=0,
                    language="en",
                    offset_ms=segment * RATE,
                    duration_ms=RATE // 2,
                    audio_duration_sec=0.5,
                    latency_ms=1.0,
                )
            elif offset == RATE - 1:
                text = f"s{sum(self.audio[segment * RATE :]):d}"
                self._add(SpeechEnd, segment_id=segment, offset_ms=(segment + 1) * RATE)
                self._add(
                    FinalSegment,
                    segment_id=segment,
                    text=text,
                    language="en",
                    offset_ms=segment * RATE,
                    duration_ms=RATE,
                    audio_duration_sec=1.0,
                    silence_duration_ms=0,
                    confidence=0.9,
                    words=(Word(text, segment * RATE, (segment + 1) * RATE, 0.9),),
                    latency_ms=1.0,
                )

    def _add(self, event: Any, **fields: Any) -> None:
        self.log.append(event(seq=len(self.log) + 1, **fields))


class ScriptedServer:
    """Serves sessions over any transport.

    Args:
        breaks: for each connection in turn, after how many frames it breaks (None: never; 0: refused).
        loses: how many of the last samples of a broken connection did not arrive.
        ack: whether to acknowledge audio.
    """

    def __init__(self, breaks: tuple[int | None, ...] = (), *, loses: int = 0, ack: bool = True) -> None:
        self._breaks = list(breaks)
        self._loses = loses
        self._ack = ack
        self.sessions: dict[str, Session] = {}
        self.inits: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._tasks: set[Any] = set()

    async def connect(self, url: str, headers: Any, ssl_context: Any = None) -> MemoryTransport:
        """The client's connector: a connection in memory."""
        self.headers.append(dict(headers))
        if self._breaks and self._breaks[0] == 0:
            self._breaks.pop(0)
            raise StreamClientError("CONNECTION_FAILED", "scripted refusal")
        near, far = memory_pair()
        task = asyncio.create_task(self.serve(far))
        self._tasks.add(task)
        return near

    async def idle(self) -> None:
        """Wait until all connections have ended."""
        await asyncio.gather(*self._tasks)

    async def serve(self, transport: Transport) -> None:
        limit = self._breaks.pop(0) if self._breaks else None
        try:
            init = json.loads(await transport.receive())
            self.inits.append(init)
            name = init.get("session_id") or f"session-{len(self.sessions) + 1}"
            resumed = name in self.sessions
            session = self.sessions.setdefault(name, Session())
            if resumed and self._loses:
                # As if the network had swallowed the end: audio that no event speaks of yet.
                del session.audio[len(session.audio) - min(self._loses, len(session.audio) % (RATE // 2)) :]
            ready = Ready(name, "token", 1, "fake", "en", {}, resumed=resumed, received_samples=len(session.audio))
            await transport.send(encode_event(ready))
            for event in session.log[init.get("last_seq", 0) :]:
                await transport.send(encode_event(event))
            await self._converse(transport, session, limit)
        except TransportClosed:
            pass
        await transport.close()

    async def _converse(self, transport: Transport, session: Session, limit: int | None) -> None:
        frames = 0
        while not session.ended:
            events = session.receive(await transport.receive())
            frames += 1
            if frames == limit:
                return  # with events that never went out
            for event in events:
                await transport.send(encode_event(event))
            if self._ack:
                await transport.send(encode_event(Ack(len(session.audio))))
