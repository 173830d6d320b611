"""The live sessions of this server, those without a socket included, until their resume window has passed."""

from __future__ import annotations

import asyncio
import hmac
import uuid

from stream_protocol.errors import ClientError, ErrorCode, ServerError
from stream_server.audio.segmenter import SegmenterSettings
from stream_server.engine.engine import Engine
from stream_server.limits import SessionLimit
from stream_server.session import Session, SessionConfig
from stream_server.transport.detection import Detector
from stream_server.transport.live import LiveSession

SWEEP_INTERVAL = 1.0


class Registry:
    """Makes, finds and forgets live sessions. A session holds a place of ``limit`` until it is forgotten."""

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

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, config: SessionConfig) -> LiveSession:
        """A new session; its place in the limit has been acquired by the caller and passes to the registry.

        Raises:
            ServerError: ``CAPACITY_FULL``, when the engine has no stream left.
        """
        detector = self._detectors[config.vad]
        session = Session(str(uuid.uuid4()), config, detector.model, self._segmenter, now=self._loop.time())
        live = LiveSession(session, self._engine, detector, loop=self._loop)
        live.open_streams()
        self._sessions[session.id] = live
        return live

    def find(self, session_id: str, resume_token: str | None) -> LiveSession:
        """The session to resume.

        Raises:
            ClientError: ``SESSION_NOT_FOUND``: unknown, its window has passed, or the token is not its own.
        """
        live = self._sessions.get(session_id)
        token = (resume_token or "").encode()
        if live is None or not hmac.compare_digest(token, live.resume_token.encode()):
            raise ClientError(
                ErrorCode.SESSION_NOT_FOUND, "no session of this id and resume_token; start a new one without them"
            )
        if live.session.config.audio.dtype == "container":
            raise ClientError(
                ErrorCode.SESSION_NOT_FOUND, "a session of container audio cannot be resumed; start a new one"
            )
        return live

    def forget(self, live: LiveSession) -> None:
        """Nothing more will come of this session. Idempotent."""
        live.close()
        if self._sessions.pop(live.session.id, None) is not None:
            self._limit.release()

    async def drain(self, error: ServerError, *, patience: float) -> int:
        """End every session, finals first; returns how many were not done within ``patience`` seconds."""
        sessions = list(self._sessions.values())
        for live in sessions:
            live.fail(error)
        waits = [asyncio.ensure_future(live.closed.wait()) for live in sessions]
        if not waits:
            return 0
        _, late = await asyncio.wait(waits, timeout=patience)
        for wait in late:
            wait.cancel()
        return len(late)

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
