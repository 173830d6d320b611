"""The process: listens, and ends well. A signal drains what is live, a lost engine ends the process to be started anew.

What the server is made of, `stream_server.app` knows.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from socket import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from stream_protocol.errors import ErrorCode, ServerError
from stream_server.app import create_app
from stream_server.certificate import tls_context
from stream_server.engine.memory import large_pieces_apart, release_memory
from stream_server.engine.recognizer import Recognizer
from stream_server.settings import Settings
from stream_server.transport.head import MAX_HEAD_BYTES, HttpProtocol
from stream_server.transport.protocol import StreamProtocol
from stream_server.transport.service import Service
from stream_server.transport.voice import Voices

logger = logging.getLogger(__name__)

TURN_SEC = 0.0005
"""How long a thread may keep others waiting. With Python's 5 ms the finals of 500 live streams on a card took 2.8 s
(p95) in place of 1.1."""

LAST_SEC = 3.0
"""Seconds for closing what is open after a second signal."""

FAILED: Final = 1
"""Exit status of a server that did not end well: no service manager takes that for what was wanted."""

LOST_SEC = 30.0
"""Seconds for closing what is open once the engine is lost: a worker may take two thirds of it to leave its jobs."""

SIGNAL_INTERVAL = 0.1
"""Seconds between two looks, during a drain, at whether a second signal has come."""


async def drain(app: FastAPI) -> None:
    """Take no more sessions, and end those there are with their finals."""
    service: Service | None = getattr(app.state, "service", None)
    if service is None:
        return
    service.limit.is_draining = True
    # What a lost engine has not heard it never will: who is still here is told so now.
    patience = 0.0 if service.engine.lost is not None else service.settings.drain_timeout
    sessions = service.limit.taken
    logger.info("draining: %d session%s, at most %g s", sessions, "" if sessions == 1 else "s", patience)
    error = ServerError(
        ErrorCode.SERVER_DRAINING,
        "the server is shutting down; connect again",
        retry_after=service.settings.retry_after,
    )
    late = await service.registry.drain(error, patience=patience)
    if late:
        logger.warning("%d sessions were not finished within %g s", late, patience)


class ListenError(Exception):
    """The address of the settings cannot be listened on; the message says why."""


class Server(uvicorn.Server):
    """uvicorn's server, which finishes what was heard before it closes sockets.

    ``owns_process``: nothing else runs beside it, so that it may tell the garbage collector what to leave alone, and
    end the process when its engine is lost: whoever looks after it starts another one, and need not know why.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app
        self.owns_process = False

    def run(self, sockets: list[socket] | None = None) -> None:
        super().run(sockets)
        service: Service | None = getattr(self.app.state, "service", None)
        if self.owns_process and service is not None and service.engine.lost is not None:
            # Past Python's own end, and the driver's: both would wait for the thread that hangs.
            logging.shutdown()
            os._exit(FAILED)

    async def on_tick(self, counter: int) -> bool:
        lost = self.app.state.service.engine.lost
        if self.owns_process and lost is not None and not self.should_exit:
            logger.critical("the server ends, with status %d, to be started anew: the engine failed: %s", FAILED, lost)
            self.should_exit = True
            _end_within(LOST_SEC)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends the server well, with exit status 0; a second one, of whatever kind, ends it now."""
        if self.should_exit and self.owns_process:
            # Our worker goes with us, and what it had in hand is taken over: nothing is worth waiting for longer.
            _end_within(LAST_SEC)
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as leaving:  # uvicorn has logged why, and wants to leave without a word to the caller
            if isinstance(reason := leaving.__context__, OSError):
                why = os.strerror(reason.errno) if reason.errno and reason.errno > 0 else reason.strerror
                raise ListenError(f"cannot listen on {self.config.host}:{self.config.port}: {why}") from None
            raise
        if self.started:
            if self.owns_process:
                # What is there now stays. Looking through it again and again stopped everything for 0.1 s at a time
                # with torch and thousands of streams, which is longer than the shortest chunk.
                release_memory()
                large_pieces_apart(False)
                gc.freeze()
                # The engine's thread waits for the device many times in a step, and then for its turn among threads.
                sys.setswitchinterval(TURN_SEC)
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            logger.info("serving %s on %s://%s:%d", self.app.state.service.engine.info.name, scheme, host, port)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        draining = asyncio.create_task(drain(self.app))
        while not (self.force_exit or draining.done()):
            await asyncio.wait((draining,), timeout=SIGNAL_INTERVAL)
        draining.cancel()
        (ended,) = await asyncio.gather(draining, return_exceptions=True)
        if isinstance(ended, Exception):
            logger.error("the drain failed: sessions end without their finals", exc_info=ended)
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves it out, and then complains that it never came
            await self.lifespan.shutdown()
        logger.info("stopped")


def _end_within(seconds: float) -> None:
    """The process ends then at the latest, whatever hangs."""
    timer = threading.Timer(seconds, os._exit, (FAILED,))
    timer.daemon = True
    timer.start()


def create_server(
    settings: Settings, recognizer: Recognizer | None = None, voices: Callable[[], Voices] | None = None
) -> Server:
    """A server that is ready to run; see `create_app` for what it raises.

    Raises:
        CertificateError: the files of the settings make no TLS.
    """
    tls = tls_context(settings.tls_certificate, settings.tls_key)
    app = create_app(settings, recognizer, voices)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws=StreamProtocol,
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ssl_context_factory=None if tls is None else lambda *_: tls,
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        timeout_graceful_shutdown=5,
        log_config=None,
        access_log=False,
    )
    return Server(config, app)


def serve(settings: Settings) -> None:
    """Serve until a signal comes; the first one drains, the second one ends at once."""
    large_pieces_apart(True)
    server = create_server(settings)
    server.owns_process = True
    server.run()
