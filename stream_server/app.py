"""The composition root: builds the parts from the settings, joins them, and shuts them down in order."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from stream_protocol.errors import StreamError
from stream_server import __version__
from stream_server.audio.vad import VadModel, VadSettings, load_vad
from stream_server.auth import KeyRing, configured_keys, limits_of
from stream_server.descriptor import DescriptorWatch
from stream_server.engine.device import resolve_device
from stream_server.engine.engine import Engine
from stream_server.engine.recognizer import Recognizer
from stream_server.engine.registry import load_recognizer
from stream_server.job_system import open_job_system
from stream_server.jobs.database import DATABASE_NAME, open_database, read_secret
from stream_server.jobs.worker import places
from stream_server.limits import SessionLimit
from stream_server.metrics import Metrics
from stream_server.quota import Quota
from stream_server.settings import Settings
from stream_server.speakers.ability import speaker_abilities
from stream_server.speakers.service import load_speakers
from stream_server.token import Signer
from stream_server.transport import (
    audiotext,
    http,
    lesan,
    lightning,
    luxasr,
    model,
    openai,
    page,
    shunyalabs,
    token,
    upload,
    websocket,
)
from stream_server.transport.detection import Detector
from stream_server.transport.diarization import LiveDiarizer
from stream_server.transport.document import DESCRIPTION, SERVERS, TAGS, operation_id
from stream_server.transport.fallback import fallback
from stream_server.transport.origin import OriginGuard
from stream_server.transport.registry import Registry
from stream_server.transport.request import RequestLayer, count_error, surface_of, surfaces_of
from stream_server.transport.service import Service
from stream_server.transport.speaker import SpeakerDesk
from stream_server.transport.voice import Voices

logger = logging.getLogger(__name__)

THREADS = 32
"""For what blocks the event loop otherwise: questions to the database, files, rendering."""

EXPOSED_HEADERS: Final = (
    *("Retry-After", "X-Request-Id"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
)
"""What pages of other origins may read of an answer, beside its body."""

OPEN_TO_ALL: Final = re.compile(f"{upload.SIGNED.pattern}|{page.PUBLIC.pattern}")
"""Paths that pages of any origin may ask for."""

ROUTES: Final = (http, websocket, token, model, openai, shunyalabs, audiotext, lesan, lightning, luxasr, upload, page)
JOB_ROUTES: Final = (openai, audiotext, lesan, lightning, luxasr)
"""Those that make jobs."""


def create_app(
    settings: Settings, recognizer: Recognizer | None = None, voices: Callable[[], Voices] | None = None
) -> FastAPI:
    """The ASGI app. ``recognizer`` replaces the one the settings name, and ``voices`` what tells those of a live caller
    apart; tests give fake ones.

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
    speakers = load_speakers(settings, apart=is_inline)

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
        diarizer = LiveDiarizer(voices or speakers.live, loop, metrics.diarization)
        registry = Registry(
            engine,
            running,
            segmenter,
            limit,
            diarizer,
            no_diarization=speaker_abilities(settings).no_live_diarization,
            resume_window=settings.resume_window,
            loop=loop,
            metrics=metrics.live,
        )
        quota = Quota(database, retry_after=settings.retry_after)
        quota.start()
        descriptors = loop.create_task(DescriptorWatch().run())
        if await keys.is_open():
            logger.warning("there are no API keys: anyone who can reach this server may use it (stream-server keys)")
        try:
            async with AsyncExitStack() as stack:
                transcriptions, desk = None, None
                if database is not None and settings.job_worker != "off":
                    vad = detectors[settings.vad] if is_inline else None
                    jobs = open_job_system(settings, database, engine, quota, vad, speakers)
                    transcriptions = await stack.enter_async_context(jobs)
                    desk = SpeakerDesk(
                        database,
                        transcriptions.objects,
                        quota,
                        transcriptions.speakers,
                        speakers.embedder,
                        speakers.embedded_diarizer,
                        detectors[settings.vad],
                    )
                    stack.push_async_callback(asyncio.to_thread, desk.close)
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
                    desk,
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
            diarizer.close()
            speakers.close()
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
    app.add_middleware(OriginGuard, allowed=settings.allowed_origins, open_to_all=OPEN_TO_ALL)
    app.add_middleware(upload.CrossOrigin)
    app.add_middleware(RequestLayer)
    return app


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
