"""The small HTTP surface: health, readiness, metrics; who is let in. What needs a key has routers of its own."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Annotated, Final

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from stream_server.auth import Caller, key_of_header
from stream_server.jobs.service import Transcriptions
from stream_server.jobs.tally import JobFigures
from stream_server.metrics import MEDIA_TYPE
from stream_server.transport.service import Service

logger = logging.getLogger(__name__)
router = APIRouter()

FIGURES_SEC: Final = 5.0
"""How long `/metrics` waits for the database: who asks has patience for 10 s, as a rule."""


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(service_of)]


_scheme = HTTPBearer(
    auto_error=False, description="An API key. The scheme `Token` is taken as well. Without keys the server is open."
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
"""Documents that a route asks for a key; which it is, `require_key` reads itself."""


async def require_key(request: Request, service: Served, _: Credentials) -> Caller:
    """Let only known keys in; raises ``AUTH_FAILED``, which the app turns into HTTP 401."""
    return await service.keys.authenticate(key_of_header(request.headers.get("authorization")))


class Problem(BaseModel):
    """``code`` is for programs, ``message`` for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """An error, in the shape of our own routes."""

    error: Problem


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    sessions: int
    max_sessions: int


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["Operations"], summary="Liveness", response_description="It does.")
async def healthz() -> Health:
    """The process runs and its event loop turns."""
    return Health(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    tags=["Operations"],
    summary="Readiness",
    response_description="The server runs and is not draining; it may be full.",
    responses={503: {"model": Readiness, "description": "Send nobody here; `status` says why."}},
)
async def readyz(service: Served, response: Response) -> Readiness:
    """Whether the model is loaded, the engine runs, and the server is not draining. A full server is ready as well."""
    status = "ready"
    if service.engine.lost is not None:
        status = f"engine failed: {service.engine.lost}"
    elif service.limit.is_draining:
        status = "draining"
    elif not service.engine.is_alive:
        status = "engine stopped"
    wait = service.limit.wait  # a browser's page is not shown why its WebSocket was refused, so it asks here
    if status != "ready":
        response.status_code = 503
        wait = service.settings.retry_after
    if wait is not None:
        response.headers["Retry-After"] = str(math.ceil(wait))
    return Readiness(status=status, sessions=service.limit.taken, max_sessions=service.limit.most)


@router.get(
    "/metrics",
    tags=["Operations"],
    summary="Metrics for Prometheus",
    response_class=Response,
    response_description="Prometheus' text format.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: Served) -> Response:
    """Prometheus metrics."""
    live = service.metrics.live
    live.sessions.set(service.limit.taken)
    live.limit.set(service.limit.most)
    live.draining.set(service.limit.is_draining)
    live.detached.set(service.registry.detached)
    if service.transcriptions is not None:
        service.metrics.jobs.update(await _job_figures(service.transcriptions))
    return Response(service.metrics.render(), media_type=MEDIA_TYPE)


async def _job_figures(transcriptions: Transcriptions) -> JobFigures | None:
    """How jobs stand; None where the database does not say so in time, which is no reason to show nothing at all."""
    try:
        async with asyncio.timeout(FIGURES_SEC):
            return await transcriptions.figures()
    except (TimeoutError, sa.exc.SQLAlchemyError) as error:
        logger.warning("the database does not say how jobs stand: %s", error or "no answer in time")
        return None
