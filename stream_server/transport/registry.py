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
from stream_server.session import Session, engine_lost
from stream_server.session_config import SessionConfig
from stream_server.transport.detection import Detector
from stream_server.transport.live import LiveSession

logger = logging.getLogger(__name__)

SWEEP_INTERVAL = 1.0
FINAL_PATIENCE = 10.0
"""Seconds that finals may take once a drain has ended the sessions."""


class Registry:
    """Makes, finds and forgets live sessions. A session holds a place of ``limit`` until it has ended."""

    def __init__(
        self,
        engine: Engine,
        detectors: dict[str, Detector],
        segmenter: SegmenterSettings,
        limit: SessionLimit,
        *,
        resume_window: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._engine = engine
        self._detectors = detectors
        self._segmenter = segmenter
        self._limit = limit
        self._resume_window = resume_window
        self._loop = loop
        self._sessions: dict[str, LiveSession] = {}
        self._sweeper = loop.create_task(self._sweep())

    def create(
        self, config: SessionConfig, key: str | None, *, on_ended: Callable[[LiveSession], None] | None = None
    ) -> LiveSession:
        """A new session for the API key of this id. ``on_ended`` is called once, when it has ended.

        Raises:
            StreamError: ``CAPACITY_FULL``, ``RATE_LIMITED`` or ``SERVER_DRAINING``.
        """
        self._limit.acquire(key)
        detector = self._detectors[config.vad]

        def closed(ended: LiveSession) -> None:
            self._release(ended)
            if on_ended is not None:
                on_ended(ended)

        session = Session(
            str(uuid.uuid4()), config, detector.model, self._segmenter, model=self._engine.info, now=self._loop.time()
        )
        live = LiveSession(session, self._engine, detector, key=key, loop=self._loop, on_closed=closed)
        self._sessions[session.id] = live
        try:
            live.open_streams()
        except EngineFullError as error:
            self.forget(live)
            raise self._limit.full(str(error)) from None
        except EngineLostError:
            self.forget(live)
            raise engine_lost() from None
        logger.info("session started", extra={"session_id": session.id, "dtype": config.audio.dtype})
        return live

    def check_admission(self) -> None:
        """Whether a socket may come in before it has said what for. On a full server it may, where somebody has lost
        his: he holds the place that refuses him.

        Raises:
            ServerError: ``SERVER_DRAINING`` or ``CAPACITY_FULL``.
        """
        if self._engine.lost is not None:
            raise engine_lost()
        try:
            self._limit.check()
        except ServerError as error:
            if error.code is not ErrorCode.CAPACITY_FULL or all(live.is_attached for live in self._open()):
                raise

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
        logger.info("session ended", extra={"session_id": session.id, "close_code": session.close_code})
        ended = [other for other in self._sessions.values() if other.closed.is_set()]
        for other in ended[: max(0, len(ended) - self._limit.most)]:  # the oldest
            self._sessions.pop(other.session.id)

    async def drain(self, error: ServerError, *, patience: float) -> int:
        """Give every session ``patience`` seconds to end, then end it, finals first.

        Returns how many were not done even `FINAL_PATIENCE` seconds later.
        """
        for live in self._open():
            if not live.is_attached:  # nobody can come back to it any more
                self.forget(live)
        warning = Warning(WarningCode.DRAINING, "the server is shutting down", deadline_sec=patience)
        for live in self._open():
            live.warn(warning)
        await self._all_closed(patience)
        for live in self._open():
            live.fail(error)
        await self._all_closed(FINAL_PATIENCE)
        return len(self._open())

    def _open(self) -> list[LiveSession]:
        return [live for live in self._sessions.values() if not live.closed.is_set()]

    async def _all_closed(self, patience: float) -> None:
        waits = [asyncio.ensure_future(live.closed.wait()) for live in self._open()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=patience)
            for wait in late:
                wait.cancel()

    def close(self) -> None:
        self._sweeper.cancel()
        for live in list(self._sessions.values()):
            self.forget(live)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            for live in list(self._sessions.values()):
                if live.expired(self._resume_window):
                    self.forget(live)
