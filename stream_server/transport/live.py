"""A session in the world: the sans-I/O `Session` joined to the engine, the clock and whichever socket it has now.

A live session outlives its socket: events are kept in a bounded log, and a connection that resumes it gets those it has
not seen. Everything here runs in the event loop; the engine's thread only calls `_deliver`, which hands over.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stream_protocol.codec import decode_audio, decode_message, encode_event
from stream_protocol.errors import ClientError, ErrorCode, ServerError, StreamError
from stream_protocol.events import Error, Event, Warning
from stream_protocol.messages import Frame
from stream_server.engine.engine import Engine
from stream_server.engine.stream import EngineStream
from stream_server.engine.work import SAMPLE_RATE, EngineFullError, EngineLostError, Outcome
from stream_server.log import context_of
from stream_server.metrics.live import LIVE, LiveMetrics
from stream_server.overload import Backpressure
from stream_server.session import Session, State, engine_lost, internal_error
from stream_server.speakers.live import Spoken
from stream_server.tracing import begin
from stream_server.transport.detection import Detector
from stream_server.transport.diarization import LiveDiarizer
from stream_server.transport.outbox import Outbox, Outgoing
from stream_server.transport.voice import DiarizedChannel

logger = logging.getLogger(__name__)

SLICE_BYTES = 32 * 1024
"""A large frame is worked off in pieces, so that the other callers get their turn in between."""

MAX_UNDETECTED = 10 * SAMPLE_RATE
"""Samples of a caller that may wait for a detector before its socket is no longer read."""

REPLAY_EVENTS = 1000
"""Events a resumed connection can be given again."""


class LiveSession:
    """One session, its streams in the engine, its timer, and its socket when it has one.

    ``admit`` is asked for more streams than the init announced, and raises `ServerError` where there is no room for so
    many. ``admit_voices`` is asked where a header says that there is only one channel, so that its voices have to be
    told apart after all, and raises `StreamError` where that cannot be. ``on_closed`` is called once, when the session
    has ended; its last events can still be fetched.
    """

    def __init__(
        self,
        session: Session,
        engine: Engine,
        detector: Detector,
        diarizer: LiveDiarizer,
        *,
        key: str | None,
        loop: asyncio.AbstractEventLoop,
        metrics: LiveMetrics,
        admit: Callable[[int], None],
        admit_voices: Callable[[], None],
        on_closed: Callable[[LiveSession], None],
    ) -> None:
        self.key = key
        self.session = session
        self.resume_token = secrets.token_urlsafe(16)
        self.closed = asyncio.Event()
        self._engine = engine
        self._detector = detector
        self._diarizer = diarizer
        self._loop = loop
        self._metrics = metrics
        self._admit = admit
        self._admit_voices = admit_voices
        self._on_closed = on_closed
        self._context = context_of(session_id=session.id)  # what the engine, the detector and the clock set off is ours
        self._span = begin("session", session_id=session.id, dtype=session.config.audio.dtype)
        self._counted_sec = 0.0
        self._streams: dict[int, EngineStream] = {}
        self._voices: DiarizedChannel | None = None
        self._log: deque[Outgoing] = deque(maxlen=REPLAY_EVENTS)
        self._leaving: StreamError | None = None  # what it is to end with, once nobody speaks
        self._warnings: dict[str, Outgoing] = {}  # the newest of each code that still says something later
        self._farewell: Outgoing | None = None  # the error that ended the session
        self._outbox: Outbox | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress = asyncio.Event()
        self._is_held = False  # whether it waits for us that more may come
        self._detached_at: float | None = loop.time()  # the window runs from here, should no socket ever come
        self._backpressure = Backpressure()

    def open_streams(self) -> None:
        """Take a place in the engine for every channel announced, and one in the diarizer where it will be needed.

        Raises:
            EngineFullError, EngineLostError: there is none.
        """
        self._open_channels()
        if self.session.config.needs_voices:
            self._open_voices()
        self._schedule()

    # -- the socket ----------------------------------------------------------------------------------------------------

    @property
    def is_attached(self) -> bool:
        return self._outbox is not None

    def is_attached_to(self, outbox: Outbox) -> bool:
        """Whether this socket is still the session's: another may have taken over."""
        return self._outbox is outbox

    def attach(self, outbox: Outbox, *, ignored: tuple[str, ...] = (), last_seq: int | None = None) -> None:
        """Give the session a socket; ``last_seq`` is the last event a resuming client has seen.

        Raises:
            ClientError: ``SESSION_NOT_FOUND``, when events after ``last_seq`` have been forgotten.
        """
        missed = [item for item in self._log if item.seq is not None and item.seq > (last_seq or 0)]
        if last_seq is not None:
            newest = self._log[-1].seq if self._log else 0
            if last_seq > (newest or 0) or (missed and missed[0].seq != last_seq + 1):
                raise ClientError(ErrorCode.SESSION_NOT_FOUND, f"the events after {last_seq} are not kept any more")
            self.session.drop_pending_bytes()
        ready = encode_event(self.session.ready(self.resume_token, resumed=last_seq is not None, ignored=ignored))
        if self._outbox is not None:
            self.detach(self._outbox, ClientError(ErrorCode.SESSION_REPLACED, "resumed by another connection"))
        self._outbox = outbox
        self._detached_at = None
        self.session.keep_alive(self._loop.time())
        outbox.put(Outgoing(None, ready))
        # A warning has no number: whether it arrived before the break nobody knows. Told once more, none is lost.
        outbox.replay([*self._warnings.values(), *missed, *([self._farewell] if self._farewell is not None else [])])
        if self.session.close_code is not None:
            outbox.finish(self.session.close_code)

    def detach(self, outbox: Outbox, error: StreamError | None = None) -> None:
        """The socket has gone, or gives way because of ``error``; the session stays."""
        if self._outbox is not outbox:
            return
        if error is not None:
            self._metrics.error(LIVE, error.code)
            outbox.put(Outgoing(None, encode_event(error_event(error))))
            outbox.finish(error.rule.close_code)
        self._outbox = None
        self._detached_at = self._loop.time()

    def expired(self, window: float) -> bool:
        """Whether it has been without a socket for longer than ``window`` seconds."""
        return self._detached_at is not None and self._loop.time() - self._detached_at >= window

    # -- input ---------------------------------------------------------------------------------------------------------

    async def receive_bytes(self, data: bytes, source: Outbox) -> None:
        """A binary frame of the connection that ``source`` belongs to; returns when the next one is welcome."""
        for start in range(0, max(1, len(data)), SLICE_BYTES):
            if start:
                await asyncio.sleep(0)
            await self._caught_up()
            if self._outbox is not source:  # another connection has taken over, and sends this again
                return
            with self._guarded():
                self.session.receive_bytes(data[start : start + SLICE_BYTES], self._loop.time())
                self._pump()

    async def receive_text(self, text: str, source: Outbox) -> None:
        """A text frame; as `receive_bytes`."""
        if len(text) > SLICE_BYTES and (audio := _audio_of(text)):
            await self.receive_bytes(audio, source)
            return
        await self._caught_up()
        if self._outbox is not source:
            return
        with self._guarded():
            self.session.receive_text(text, self._loop.time())
            self._pump()

    def warn(self, warning: Warning) -> None:
        with self._guarded():
            self.session.warn(warning)
            self._pump()

    def fail(self, error: StreamError) -> None:
        """End the session because of ``error``, its finals first."""
        with self._guarded():
            self.session.fail(error, self._loop.time())
            self._pump()

    def leave(self, error: StreamError) -> None:
        """End because of ``error`` as soon as nobody speaks, if the client keeps its audio and can go on elsewhere."""
        if self.session.config.acks and self.session.is_resumable:
            self._leaving = error
            with self._guarded():
                self._pump()

    def hasten(self) -> None:
        """Where it is to `leave`, a pause between words will do."""
        if self._leaving is not None:
            with self._guarded():
                self.session.hasten()

    @property
    def _is_behind(self) -> bool:
        return self._level > 1

    @property
    def _level(self) -> float:
        """How full this caller's queue is; above 1 nothing more is read."""
        return max(
            self.session.undetected / MAX_UNDETECTED,
            *(stream.backlog for stream in self._streams.values()),
            self._voices.backlog if self._voices is not None else 0.0,
        )

    def _tell_level(self) -> None:
        warning = self._backpressure.notice(self._level, self._loop.time())
        if warning is not None:
            self.warn(warning)

    async def _caught_up(self) -> None:
        """Wait while so much of this caller's audio is undecided that no more should come in."""
        while self._is_behind and self.session.state is State.OPEN:
            self._tell_level()
            self._progress.clear()
            self._is_held = True
            try:
                await self._progress.wait()
            finally:
                self._is_held = False
        self._tell_level()

    # -- the engine, the detector, the clock ---------------------------------------------------------------------------

    def _pump(self) -> None:
        """Carry out what the session wants done."""
        if self._leaving is not None and self.session.is_quiet:
            self.session.fail(self._leaving, self._loop.time())
        if (heard := self.session.received_sec) > self._counted_sec:
            self._metrics.audio.inc(heard - self._counted_sec)
            self._counted_sec = heard
        try:
            if (more := self.session.channels - len(self._streams)) > 0:
                self._admit(more)
                self._open_channels()
            self._settle_voices()
            for channel, command in self.session.commands_to_submit():
                self._streams[channel].submit([command])
                if self._voices is not None:
                    self._voices.receive(command, self._loop.time())
            for segment_id, has_text in self.session.speakers_to_find():
                assert self._voices is not None, "there were none to tell apart"
                self._voices.settle(segment_id, has_text=has_text)
        except StreamError as error:
            self.session.abort(error)
        except EngineFullError as error:
            self.session.abort(ServerError(ErrorCode.CAPACITY_FULL, str(error)))
        except EngineLostError:
            self.session.abort(engine_lost())
        for channel, detection in self.session.detections_to_run():
            self._detector.submit(detection, partial(self._receive_speech, channel))
        for event in self.session.events_to_send():
            self._send(event)
        if self.session.state is State.CLOSED:
            self.close()

    def _settle_voices(self) -> None:
        """Now that audio has come, it is known whether there is one channel."""
        needed = self.session.needs_voices
        if needed and self._voices is None:
            self._admit_voices()
            self._open_voices()
        elif needed is False and self._voices is not None:
            self._voices.close()
            self._voices = None

    def _open_voices(self) -> None:
        self._voices = self._diarizer.open(self._receive_speakers, self._progress.set)

    def _open_channels(self) -> None:
        for channel in range(len(self._streams), self.session.channels):
            options, about = self.session.config.stream_options(), {"session_id": self.session.id}
            self._streams[channel] = self._engine.open(options, self._deliver, about=about, owner=self.key)

    def _deliver(self, outcome: Outcome) -> None:
        """Called in the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._receive_outcome, outcome, context=self._context)
        except RuntimeError:  # the loop has ended: nobody is left to tell
            logger.debug("a result came after the end of the event loop")

    def _receive_outcome(self, outcome: Outcome) -> None:
        self._progress.set()
        with self._guarded():
            self.session.receive_outcome(outcome, self._loop.time())
            self._pump()
            if self._backpressure.is_told:
                self._tell_level()

    def _receive_speech(self, channel: int, speech: NDArray[np.float32] | Exception) -> None:
        """Called by the detector, which works for all sessions."""
        self._context.run(self._take_speech, channel, speech)

    def _take_speech(self, channel: int, speech: NDArray[np.float32] | Exception) -> None:
        self._progress.set()
        with self._guarded():
            if isinstance(speech, Exception):
                raise speech
            self.session.receive_speech(channel, speech, self._loop.time())
            self._pump()

    def _receive_speakers(self, segment_id: int, spoken: Spoken | Exception) -> None:
        """Called by the diarizer, which works for all sessions."""
        self._context.run(self._take_speakers, segment_id, spoken)

    def _take_speakers(self, segment_id: int, spoken: Spoken | Exception) -> None:
        with self._guarded():
            if isinstance(spoken, Exception):
                raise spoken
            self.session.receive_speakers(segment_id, spoken.turns, spoken.revised, self._loop.time())
            self._pump()

    def _send(self, event: Event) -> None:
        self._metrics.sent(event)
        if isinstance(event, Error):
            self._metrics.error(LIVE, event.code)
            # Not its message, which may quote what was sent.
            logger.info("session fails", extra={"session_id": self.session.id, "code": event.code})
        item = Outgoing(getattr(event, "seq", None), encode_event(event))
        if item.seq is not None:
            self._log.append(item)
        elif isinstance(event, Error):
            self._farewell = item
        elif isinstance(event, Warning) and event.deadline_sec is None:
            self._warnings[event.code] = item
        if self._outbox is not None:
            self._outbox.put(item)

    def _schedule(self) -> None:
        """One timer per session; it looks again when it fires, so that audio need not move it."""
        deadline = self.session.next_deadline()
        if deadline is not None and not self.closed.is_set():
            self._timer = self._loop.call_at(deadline, self._tick, context=self._context)

    def _tick(self) -> None:
        with self._guarded():
            if self._is_held or self._outbox is None:  # it is we who do not hear it; the resume window has its own end
                self.session.keep_alive(self._loop.time())
            self.session.tick(self._loop.time())
            self._pump()
        self._schedule()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """A fault of ours ends this session, with an error its caller can report, and no other."""
        try:
            yield
        except Exception as error:
            self.break_off(error)

    def break_off(self, fault: Exception) -> None:
        """End because of a fault of ours, at once."""
        logger.error("session %s failed", self.session.id, exc_info=fault)
        self.session.abort(internal_error(self.session.id))
        for event in self.session.events_to_send():
            self._send(event)
        self.close()

    def close(self) -> None:
        """Free everything. Idempotent."""
        if self.closed.is_set():
            return
        self.closed.set()
        self.session.close()
        self._progress.set()
        if self._timer is not None:
            self._timer.cancel()
        for stream in self._streams.values():
            stream.close()
        if self._voices is not None:
            self._voices.close()
        self._span.set(close_code=self.session.close_code, audio_sec=self.session.received_sec)
        self._span.end()
        if self._outbox is not None:
            self._outbox.finish(self.session.close_code or 1000)
        self._on_closed(self)


def _audio_of(text: str) -> bytes | None:
    """The audio of a JSON frame, so that much of it can be worked off in pieces; None for anything else."""
    try:
        message = decode_message(text)
        return decode_audio(message) if isinstance(message, Frame) else None
    except ClientError:
        return None  # the session says what is wrong with it


def error_event(error: StreamError) -> Event:
    """The wire form of an error."""
    return Error(code=error.code, message=error.message, retry_after=error.retry_after)
