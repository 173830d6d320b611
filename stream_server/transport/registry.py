"""The live sessions of this server, those without a socket included, until their resume window has passed."""

from __future__ import annotations

import asyncio
import hmac
import logging
import uuid
from collections.abc import Callable

from stream_protocol.errors import ClientError, ErrorCode, ServerError
from stream_protocol.events import Warning, WarningCode
from stream_server.audio.segmenter import SegmenterSettings
from stream_server.engine.engine import Engine
from stream_server.engine.work import EngineFullError, EngineLostError
from stream_server.limits import SessionLimit
from stream_server.metrics.live import LiveMetrics
from stream_server.negotiation import cannot_diarize
from stream_server.session import Session, engine_lost, internal_error
from stream_server.session_config import SessionConfig
from stream_server.transport.detection import Detector
from stream_server.transport.diarization import LiveDiarizer
from stream_server.transport.live import LiveSession

logger = logging.getLogger(__name__)

SWEEP_INTERVAL = 1.0
DRAIN_INTERVAL = 0.1
"""Seconds between two looks, during a drain, at who is still there."""
FINAL_PATIENCE = 10.0
"""Seconds that finals may take once a drain has ended the sessions."""


class Registry:
    """Makes, finds and forgets live sessions. A session holds a place of ``limit`` until it has ended.

    ``no_diarization``: why voices cannot be told apart here; None: they can.
    """

    def __init__(
        self,
        engine: Engine,
        detectors: dict[str, Detector],
        segmenter: SegmenterSettings,
        limit: SessionLimit,
        diarizer: LiveDiarizer,
        *,
        no_diarization: str | None = None,
        resume_window: float,
        loop: asyncio.AbstractEventLoop,
        metrics: LiveMetrics,
    ) -> None:
        self._engine = engine
        self._detectors = detectors
        self._segmenter = segmenter
        self._limit = limit
        self._diarizer = diarizer
        self.no_diarization = no_diarization
        self._resume_window = resume_window
        self._loop = loop
        self._metrics = metrics
        self._sessions: dict[str, LiveSession] = {}
        self._sweeper = loop.create_task(self._sweep())

    def create(
        self, config: SessionConfig, key: str | None, *, on_ended: Callable[[LiveSession], None] | None = None
    ) -> LiveSession:
        """A new session for the API key of this id. ``on_ended`` is called once, when it has ended.

        Raises:
            StreamError: ``CAPACITY_FULL``, ``RATE_LIMITED``, ``SERVER_DRAINING`` or ``INTERNAL_ERROR``.
        """
        if config.needs_voices:
            self._admit_voices()
        self._limit.acquire(key, config.audio.channels)
        session_id, live = str(uuid.uuid4()), None
        try:
            live = self._make(session_id, config, key, on_ended)
            self._sessions[session_id] = live
            self._metrics.started.inc()
            live.open_streams()
        except Exception as error:
            if live is None:
                self._limit.release(key)
            else:
                self.forget(live)
            raise self._refusal(error, session_id) from error
        logger.info("session started", extra={"session_id": session_id, "dtype": config.audio.dtype})
        return live

    def _make(
        self, session_id: str, config: SessionConfig, key: str | None, on_ended: Callable[[LiveSession], None] | None
    ) -> LiveSession:
        detector = self._detectors[config.vad]

        def closed(ended: LiveSession) -> None:
            self._release(ended)
            if on_ended is not None:
                on_ended(ended)

        session = Session(
            session_id, config, detector.model, self._segmenter, model=self._engine.info, now=self._loop.time()
        )
        return LiveSession(
            session,
            self._engine,
            detector,
            self._diarizer,
            key=key,
            loop=self._loop,
            admit=self._limit.check_streams,
            admit_voices=self._admit_voices,
            on_closed=closed,
            metrics=self._metrics,
        )

    def _admit_voices(self) -> None:
        """Whether the voices of one more caller can be told apart.

        Raises:
            ClientError: ``INVALID_INIT``: not on this server.
            ServerError: ``CAPACITY_FULL``, with when to try again. Who does not ask for it is not held back by it.
        """
        if self.no_diarization is not None:
            raise cannot_diarize(self.no_diarization)
        if self._diarizer.filled(1) > 1:
            raise self._limit.full(
                "the server tells as many voices apart as it can; without 'diarize', and with a channel for each "
                "speaker, none have to be"
            )

    def _refusal(self, error: Exception, session_id: str) -> ServerError:
        """What the caller of a session that cannot begin is told."""
        match error:
            case EngineFullError():
                return self._limit.full(str(error))
            case EngineLostError():
                return engine_lost()
            case _:
                logger.error("session %s cannot begin", session_id, exc_info=error)
                return internal_error(session_id)

    def check_admission(self, session_id: str | None) -> None:
        """Whether a socket may come in before it has said what for. On a full server it may, where somebody has lost
        his: he holds the place that refuses him. One who names his session in the address may come back to it before we
        know that his old socket is dead; the token is looked at later.

        Raises:
            ServerError: ``SERVER_DRAINING`` or ``CAPACITY_FULL``.
        """
        if self._engine.lost is not None:
            raise engine_lost()
        holds_a_place = session_id in self._sessions or any(not live.is_attached for live in self._open())
        if self._limit.is_draining or not holds_a_place:
            self._limit.check()

    def find(self, session_id: str | None, resume_token: str | None) -> LiveSession:
        """The session to resume.

        Raises:
            ClientError: ``SESSION_NOT_FOUND``: unknown, its window has passed, or the token is not its own.
        """
        live = self._sessions.get(session_id or "")
        token = (resume_token or "").encode()
        if live is not None and live.expired(self._resume_window):
            self.forget(live)
            live = None
        if live is None or not hmac.compare_digest(token, live.resume_token.encode()):
            raise ClientError(
                ErrorCode.SESSION_NOT_FOUND, "no session of this id and resume_token; start a new one without them"
            )
        if not live.session.is_resumable:
            raise ClientError(
                ErrorCode.SESSION_NOT_FOUND, "a session of container audio cannot be resumed; start a new one"
            )
        return live

    def forget(self, live: LiveSession) -> None:
        """Nobody will ask for this session again. Idempotent."""
        live.close()
        self._sessions.pop(live.session.id, None)

    def _release(self, live: LiveSession) -> None:
        """A session has ended: its place is free, while its last events are kept for those who missed them."""
        self._limit.release(live.key)
        session = live.session
        self._metrics.ended(session.close_code)
        about = {
            "session_id": session.id,
            "close_code": session.close_code,
            "audio_sec": round(session.received_sec, 1),
        }
        logger.info("session ended", extra=about)
        ended = [other for other in self._sessions.values() if other.closed.is_set()]
        for other in ended[: max(0, len(ended) - self._limit.most)]:  # the oldest
            self._sessions.pop(other.session.id)

    async def drain(self, error: ServerError, *, patience: float) -> int:
        """Give every session ``patience`` seconds to end, then end it, finals first.

        A client who can go on elsewhere is let go as soon as nobody speaks, so that no sentence is cut in two; in the
        second half of the time between two words. One without a socket cannot come back: its session is forgotten.
        Returns how many were not done even `FINAL_PATIENCE` seconds later.
        """
        warning = Warning(WarningCode.DRAINING, "the server is shutting down", deadline_sec=patience)
        for live in self._open():
            live.warn(warning)
            live.leave(error)
        await self._all_gone(patience / 2)
        for live in self._open():
            live.hasten()
        await self._all_gone(patience / 2)
        for live in self._open():
            live.fail(error)
        await self._all_gone(FINAL_PATIENCE)
        return len(self._open())

    @property
    def detached(self) -> int:
        """Sessions that go on without a connection."""
        return sum(not live.is_attached for live in self._open())

    def _open(self) -> list[LiveSession]:
        return [live for live in self._sessions.values() if not live.closed.is_set()]

    async def _all_gone(self, patience: float) -> None:
        """Wait until there is none, or ``patience`` has passed; those that lose their socket meanwhile go, too."""
        deadline = self._loop.time() + patience
        while sessions := self._open():
            for live in sessions:
                if not live.is_attached:
                    self.forget(live)
            if self._loop.time() >= deadline:
                return
            await asyncio.sleep(min(DRAIN_INTERVAL, patience))

    def close(self) -> None:
        self._sweeper.cancel()
        for live in list(self._sessions.values()):
            self.forget(live)

    async def _sweep(self) -> None:
        while True:
            due = self._loop.time() + SWEEP_INTERVAL
            await asyncio.sleep(SWEEP_INTERVAL)
            self._metrics.loop_delay.observe(max(0.0, self._loop.time() - due))
            for live in list(self._sessions.values()):
                if live.expired(self._resume_window):
                    self.forget(live)
