"""The small HTTP surface: health, readiness, models, metrics. Transcription over HTTP has routers of its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from stream_server.auth import Caller, key_of_header
from stream_server.transport.service import Service

router = APIRouter()


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


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    sessions: int
    max_sessions: int


class ModelCard(BaseModel):
    """A model that sessions may name."""

    id: str
    object: str = "model"
    kind: str
    languages: tuple[str, ...]
    description: str


class ModelList(BaseModel):
    object: str = "list"
    data: list[ModelCard]


@router.get("/healthz", tags=["operations"])
async def healthz() -> Health:
    """The process runs and its event loop turns."""
    return Health(status="ok")


@router.get("/readyz", tags=["operations"], responses={503: {"model": Readiness, "description": "send nobody here"}})
async def readyz(service: Served, response: Response) -> Readiness:
    """Whether new sessions may come: the model is loaded, the engine runs, the server is not draining."""
    status = "ready"
    if service.limit.is_draining:
        status = "draining"
    elif service.engine.lost is not None:
        status = f"engine failed: {service.engine.lost}"
    elif not service.engine.is_alive:
        status = "engine stopped"
    response.status_code = 200 if status == "ready" else 503
    return Readiness(status=status, sessions=service.limit.taken, max_sessions=service.limit.most)


@router.get("/v1/models", tags=["models"], dependencies=[Depends(require_key)])
async def models(service: Served) -> ModelList:
    """The models that are served."""
    info = service.engine.info
    card = ModelCard(id=info.name, kind=info.kind, languages=info.languages, description=info.description)
    return ModelList(data=[card])


@router.get("/metrics", tags=["operations"], response_class=Response)
async def metrics(service: Served) -> Response:
    """Prometheus metrics."""
    service.metrics.sessions.set(service.limit.taken)
    return Response(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
