"""What all HTTP dialects share: who may ask, errors in a dialect's own shape, callers who hang up, documented statuses.

It knows no dialect. A dialect is a router made by `dialect_router` with a function that gives an error its body; its
routes raise `JobError` and never think of HTTP statuses, headers or limits.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from stream_protocol.errors import ErrorCode, StreamError
from stream_server.auth import Caller, Scope, key_of_header
from stream_server.jobs.database import DATABASE_AWAY
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.jobs.service import Transcriptions
from stream_server.transport.field import given_again
from stream_server.transport.http import Credentials, service_of
from stream_server.transport.request import CLIENT_GONE, count_error, surface_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
Shape = Callable[[JobError, Request], Response]
"""Gives an error its status and body in a dialect; the headers are added here."""

EVERYWHERE: Final = (400, 401, 403, 422, 429, 500, 503)
"""Statuses that any route of a dialect may answer with."""

MEANINGS: Final = {
    400: "A parameter is missing or wrong, or the audio cannot be read.",
    401: "The API key is missing, wrong or revoked.",
    403: "The API key is not for this.",
    404: "There is no such job or upload, or it is not yours.",
    409: "The job is not in a state in which this can be done.",
    413: "The file is larger than the server accepts.",
    422: "Asked for rightly, but it cannot be done with this audio, model or configuration.",
    429: "A limit of the API key is used up; see `Retry-After`.",
    500: "The server is at fault; report the `X-Request-Id`.",
    503: "The server cannot do it now; see `Retry-After`.",
    504: "It took longer than a request may.",
}

_REASONS: Final = {
    ErrorCode.AUTH_FAILED: Reason.UNAUTHORIZED,
    ErrorCode.RATE_LIMITED: Reason.RATE_LIMITED,
    ErrorCode.CAPACITY_FULL: Reason.SERVICE_UNAVAILABLE,
    ErrorCode.SERVER_DRAINING: Reason.SERVICE_UNAVAILABLE,
}
_HTTP_REASONS: Final = {400: Reason.INVALID_PARAMETER, 413: Reason.FILE_TOO_LARGE}


def dialect_router(shape: Shape, **options: Any) -> APIRouter:
    """A router that answers every error in a dialect's own shape, and refuses query parameters that a route does not
    have; ``options`` are those of FastAPI's router."""

    class DialectRoute(APIRoute):
        refuse = staticmethod(shape)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            known = _parameters(self)

            async def answer(request: Request) -> Response:
                try:
                    if known is not None:
                        _check_query(request, known)
                    response = await handle(request)
                except ClientDisconnect:
                    return Response(status_code=CLIENT_GONE)
                except Exception as cause:
                    response = refusal(as_job_error(cause, request), request, shape)
                response.headers.update(getattr(request.state, "rate_headers", {}))
                return response

            return answer

    return APIRouter(route_class=DialectRoute, **options)


def refusal(error: JobError, request: Request, shape: Shape) -> Response:
    """An error as a response, with the headers that belong to it."""
    if error.retry_after is None and STATUS[error.reason] in (429, 503):
        error.retry_after = service_of(request).settings.retry_after
    count_error(request, surface_of(request), error.reason)
    response = shape(error, request)
    if STATUS[error.reason] == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(retry_seconds(error))
    return response


def retry_seconds(error: JobError) -> int:
    """Whole seconds after which the caller may try again; there is always one between two tries."""
    return max(1, math.ceil(error.retry_after or 0))


def responses(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documents a route's errors: those that any route may have, and ``statuses``, each with the body ``model``."""
    return {status: {"model": model, "description": MEANINGS[status]} for status in sorted({*EVERYWHERE, *statuses})}


def request_id_of(request: Request) -> str:
    """What the caller finds in ``X-Request-Id``."""
    request_id: str = request.state.request_id
    return request_id


def transcriptions_of(request: Request) -> Transcriptions:
    """The job service.

    Raises:
        JobError: ``FEATURE_UNAVAILABLE``, where this server takes no jobs.
    """
    transcriptions = service_of(request).transcriptions
    if transcriptions is None:
        raise JobError(Reason.FEATURE_UNAVAILABLE, "this server takes no recordings: its setting job_worker is off")
    return transcriptions


def json_answer(body: BaseModel, status: int = 200) -> Response:
    """A response with the fields of ``body``."""
    return Response(
        body.model_dump_json(by_alias=True),
        status_code=status,
        media_type="application/json",
    )


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the caller hangs up. The body has to have been read before.

    Raises:
        ClientDisconnect: the caller has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _enter(request: Request, _: Credentials) -> AsyncIterator[Caller]:
    """Let a caller in for the length of one request, its response included."""
    service = service_of(request)
    caller = await service.keys.authenticate(key_of_header(request.headers.get("authorization")))
    try:
        admission = service.quota.enter(caller)
    except JobError:
        request.state.rate_headers = service.quota.headers(caller)
        raise
    request.state.rate_headers = admission.headers
    try:
        yield caller
    finally:
        admission.leave()


KnownCaller = Annotated[Caller, Depends(_enter)]
"""The caller of a route: known by the key, within the limits, and holding one of the requests it may have at a time
until the response is sent."""


async def _may_transcribe(request: Request, caller: KnownCaller) -> Caller:
    if Scope.TRANSCRIBE not in caller.scopes:
        raise JobError(Reason.FORBIDDEN, "this API key is not for files and jobs; it lacks the scope transcribe")
    if request.method == "POST" and "webhook-id" in request.headers:
        # A callback sent to a server of ours would make a job, whose callback would make the next.
        raise JobError(Reason.INVALID_PARAMETER, "callbacks cannot create jobs")
    return caller


TranscribeCaller = Annotated[Caller, Depends(_may_transcribe)]
"""A `KnownCaller` whose key has the scope ``transcribe``."""


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def as_job_error(cause: Exception, request: Request) -> JobError:
    """What a caller is told of something that went wrong; what is our fault is logged here."""
    match cause:
        case JobError():
            return cause
        case StreamError() if cause.code in _REASONS:
            return JobError(_REASONS[cause.code], cause.message, retry_after=cause.retry_after)
        case RequestValidationError():
            return _parameter_error(cause)
        case HTTPException() if cause.status_code in _HTTP_REASONS:
            return JobError(_HTTP_REASONS[cause.status_code], cause.detail)
        case _ if isinstance(cause, DATABASE_AWAY):
            logger.error("the database cannot be used: %s", cause)
            wait = service_of(request).settings.retry_after
            return JobError(Reason.SERVICE_UNAVAILABLE, "the database cannot be reached; try again", retry_after=wait)
        case _:
            request_id = request_id_of(request)
            logger.error("request %s failed", request_id, exc_info=cause)
            return JobError(Reason.INTERNAL, f"the server is at fault; report request {request_id}")


def _parameters(route: APIRoute) -> list[str] | None:
    """What a route takes in the query; None where `intake.take_in` reads that, as the documented body tells."""
    extra = route.openapi_extra or {}
    if "parameters" in extra or "multipart/form-data" in extra.get("requestBody", {}).get("content", {}):
        return None
    return sorted(field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query))


def _check_query(request: Request, known: Sequence[str]) -> None:
    """Refuse what a route does not take, or takes once; what is given empty is not given."""
    # Not `request.query_params`, which the request would remember.
    pairs = QueryParams(request.scope["query_string"]).multi_items()
    for name, count in Counter(name for name, _ in pairs).items():
        if name not in known:
            there_are = f"there are: {', '.join(known)}" if known else "this takes none"
            message = f"there is no parameter {name[:100]!r}; {there_are}"
            raise JobError(Reason.INVALID_PARAMETER, message, parameter=name)
        if count > 1:
            raise given_again(name, count)
    request.scope["query_string"] = urlencode([(name, value) for name, value in pairs if value.strip()]).encode()


def _parameter_error(error: RequestValidationError) -> JobError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("query", "path", "header", "body")]
    name = ".".join(place) or "body"
    if first["type"] == "missing":
        return JobError(Reason.MISSING_PARAMETER, f"{name} is missing", parameter=name)
    message = first["msg"].removeprefix("Value error, ")
    return JobError(Reason.INVALID_PARAMETER, f"{name}: {message[:1].lower()}{message[1:]}", parameter=name)
