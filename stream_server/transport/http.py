"""The small HTTP surface: health, readiness, models, metrics. Transcription over HTTP has routers of its own."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

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


class Problem(BaseModel):
    """``code`` is for programs, ``message`` for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """An error, in the shape of our own routes."""

    error: Problem


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ErrorBody, "description": "The API key is missing, wrong or revoked."},
    503: {"model": ErrorBody, "description": "Keys cannot be checked at the moment; see `Retry-After`."},
}


async def no_route(request: Request, error: Exception) -> Response:
    """What is answered where there is no such path, or where it does not take the method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(_methods(request, error))
        problem = Problem(code="METHOD_NOT_ALLOWED", message=f"this takes {allowed} only")
        headers = {"Allow": allowed}
    else:
        problem = Problem(code="NOT_FOUND", message="there is nothing here; /docs lists what there is")
        headers = {}
    return JSONResponse(ErrorBody(error=problem).model_dump(), error.status_code, headers)


def _methods(request: Request, error: HTTPException) -> list[str]:
    """What a path takes. The framework names the methods of one route only, and a path may have several."""
    own = (error.headers or {}).get("Allow", "").split(", ")
    paths = request.app.openapi()["paths"]
    path = request.url.path
    found = [path] if path in paths else [known for known in paths if compile_path(known)[0].match(path)]
    return sorted({*own, *(method.upper() for known in found for method in paths[known])} - {""})


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


@router.get("/healthz", tags=["Operations"], summary="Liveness", response_description="It does.")
async def healthz() -> Health:
    """The process runs and its event loop turns."""
    return Health(status="ok")


@router.get(
    "/readyz",
    tags=["Operations"],
    summary="Readiness",
    response_description="New sessions are taken.",
    responses={503: {"model": Readiness, "description": "Send nobody here; `status` says why."}},
)
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


@router.get(
    "/v1/models",
    tags=["Models"],
    summary="List the models",
    dependencies=[Depends(require_key)],
    response_description="The model that the server has loaded.",
    responses=_REFUSALS,
)
async def models(service: Served) -> ModelList:
    """The models that are served."""
    info = service.engine.info
    card = ModelCard(id=info.name, kind=info.kind, languages=info.languages, description=info.description)
    return ModelList(data=[card])


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
    service.metrics.sessions.set(service.limit.taken)
    if service.transcriptions is not None:
        for state, count in (await service.transcriptions.unfinished()).items():
            service.metrics.jobs.labels(state).set(count)
    return Response(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
