"""The composition root: builds the parts from the settings, joins them, and shuts them down in order."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from socket import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from stream_protocol.errors import ErrorCode, ServerError, StreamError
from stream_server import __version__
from stream_server.audio.vad import VadModel, VadSettings, load_vad
from stream_server.auth import KeyRing, configured_keys, limits_of
from stream_server.certificate import tls_context
from stream_server.descriptor import DescriptorWatch
from stream_server.engine.device import resolve_device
from stream_server.engine.engine import Engine
from stream_server.engine.memory import large_pieces_apart, release_memory
from stream_server.engine.recognizer import Recognizer
from stream_server.engine.registry import load_recognizer
from stream_server.job_system import open_job_system
from stream_server.jobs.database import DATABASE_NAME, open_database, read_secret
from stream_server.jobs.worker import places
from stream_server.limits import SessionLimit
from stream_server.metrics import Metrics
from stream_server.quota import Quota
from stream_server.settings import Settings
from stream_server.token import Signer
from stream_server.transport import (
    audiotext,
    http,
    lesan,
    lightning,
    luxasr,
    model,
    openai,
    shunyalabs,
    token,
    upload,
    websocket,
)
from stream_server.transport.detection import Detector
from stream_server.transport.document import DESCRIPTION, SERVERS, TAGS, operation_id
from stream_server.transport.fallback import fallback
from stream_server.transport.head import MAX_HEAD_BYTES, HttpProtocol
from stream_server.transport.origin import OriginGuard
from stream_server.transport.protocol import StreamProtocol
from stream_server.transport.registry import Registry
from stream_server.transport.request import RequestLayer, count_error, surface_of, surfaces_of
from stream_server.transport.service import Service

logger = logging.getLogger(__name__)

TURN_SEC = 0.0005
"""How long a thread may keep others waiting. With Python's 5 ms the finals of 500 live streams on a card took 2.8 s
(p95) in place of 1.1."""

THREADS = 32
"""For what blocks the event loop otherwise: questions to the database, files, rendering."""

LAST_SEC = 3.0
"""Seconds for closing what is open after a second signal."""

FAILED: Final = 1
"""Exit status of a server that did not end well: no service manager takes that for what was wanted."""

LOST_SEC = 30.0
"""Seconds for closing what is open once the engine is lost: a worker may take two thirds of it to leave its jobs."""

SIGNAL_INTERVAL = 0.1
"""Seconds between two looks, during a drain, at whether a second signal has come."""

EXPOSED_HEADERS: Final = (
    *("Retry-After", "X-Request-Id"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
)
"""What pages of other origins may read of an answer, beside its body."""

ROUTES: Final = (http, websocket, token, model, openai, shunyalabs, audiotext, lesan, lightning, luxasr, upload)
JOB_ROUTES: Final = (openai, audiotext, lesan, lightning, luxasr)
"""Those that make jobs."""


def create_app(settings: Settings, recognizer: Recognizer | None = None) -> FastAPI:
    """The ASGI app. ``recognizer`` replaces the one the settings name; tests give a fake one.

    Raises:
        KeyFileError, DatabaseError, UnknownModelError, DeviceError, CheckpointError, VadUnavailableError: from
            here, before anything is served.
    """
    static_keys = configured_keys(settings)
    is_inline = _works_inline(settings, recognizer)
    of_worker = sum(places(settings).values()) if is_inline else 0
    database = open_database(settings, places=of_worker) if _needs_database(settings) else None
    secret = read_secret(settings) if database is not None else secrets.token_bytes(32)
    keys = KeyRing(static_keys, secret=secret, database=database, limits=limits_of(settings))
    detectors = _load_detectors(settings)
    recognizer = recognizer or load_recognizer(settings.model, settings.recognizer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="blocking"))
        engine = Engine(recognizer, settings.engine)
        is_measured = settings.admission == "measured"
        await loop.run_in_executor(None, partial(engine.start, measured=is_measured))
        if engine.max_streams < settings.max_sessions:
            logger.warning("the device holds %d streams: so many sessions are taken at most", engine.max_streams)
        limit = SessionLimit(
            min(settings.max_sessions, engine.max_streams),
            most_per_key=settings.max_sessions_per_key,
            retry_after=settings.retry_after,
            filled=engine.filled if is_measured else None,
            clock=loop.time,
        )
        running = {name: Detector(model, loop) for name, model in detectors.items()}
        segmenter = settings.segmenter_for(engine.info)
        metrics = Metrics(
            engine,
            surfaces_of(route for each in ROUTES for route in each.router.routes),
            [each.SURFACE for each in JOB_ROUTES],
        )
        registry = Registry(
            engine, running, segmenter, limit, resume_window=settings.resume_window, loop=loop, metrics=metrics.live
        )
        quota = Quota(database, retry_after=settings.retry_after)
        quota.start()
        descriptors = loop.create_task(DescriptorWatch().run())
        if await keys.is_open():
            logger.warning("there are no API keys: anyone who can reach this server may use it (stream-server keys)")
        try:
            async with AsyncExitStack() as stack:
                transcriptions = None
                if database is not None and settings.job_worker != "off":
                    vad = detectors[settings.vad] if is_inline else None
                    jobs = open_job_system(settings, database, engine, quota, vad)
                    transcriptions = await stack.enter_async_context(jobs)
                app.state.service = Service(
                    settings,
                    engine,
                    registry,
                    limit,
                    keys,
                    quota,
                    metrics,
                    tuple(detectors),
                    transcriptions,
                    uploads=Signer(secret, "upload"),
                    started_at=int(time.time()),
                )
                yield
        finally:
            descriptors.cancel()
            registry.close()
            await quota.close()
            keys.close()
            for detector in running.values():
                detector.close()
            await loop.run_in_executor(None, engine.stop)
            if database is not None:
                database.dispose()

    app = FastAPI(
        title="Stream Server",
        version=__version__,
        description=DESCRIPTION,
        servers=SERVERS,
        openapi_tags=TAGS,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,  # a redirect loses the body of an upload
        lifespan=lifespan,
    )
    for routes in ROUTES:
        app.include_router(routes.router)
    app.add_exception_handler(StreamError, _error_response)
    app.add_exception_handler(HTTPException, fallback(routes.router for routes in ROUTES))
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("*",),
            allow_headers=("*",),
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(OriginGuard, allowed=settings.allowed_origins, open_to_all=upload.SIGNED)
    app.add_middleware(upload.CrossOrigin)
    app.add_middleware(RequestLayer)
    return app


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


def create_server(settings: Settings, recognizer: Recognizer | None = None) -> Server:
    """A server that is ready to run; see `create_app` for what it raises.

    Raises:
        CertificateError: the files of the settings make no TLS.
    """
    tls = tls_context(settings.tls_certificate, settings.tls_key)
    app = create_app(settings, recognizer)
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


def _needs_database(settings: Settings) -> bool:
    """Without jobs it is opened for the keys in it, and not made."""
    made = settings.data_dir / DATABASE_NAME
    return settings.job_worker != "off" or bool(settings.database_url) or made.exists()


def _works_inline(settings: Settings, given: Recognizer | None) -> bool:
    """Whether jobs share the engine of the live callers: on a GPU, where two processes would take turns with all of it,
    and with a recognizer that no other process can load. On a CPU the machine itself puts the live callers first."""
    if settings.job_worker == "auto":
        return given is not None or resolve_device(settings.device) != "cpu"
    return settings.job_worker == "inline"


def _load_detectors(settings: Settings) -> dict[str, VadModel]:
    """The default detector first, and Silero beside it where it is installed."""
    names = [settings.vad, "webrtc"]
    if importlib.util.find_spec("silero_vad") is not None:
        names.append("silero")
    return {name: load_vad(name, VadSettings()) for name in dict.fromkeys(names)}


async def _error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, StreamError)
    count_error(request, surface_of(request), error.code)
    return websocket.denial(error)
