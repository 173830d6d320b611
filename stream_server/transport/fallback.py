"""What is answered where there is no such path, or where it does not take the method. It knows no dialect by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from stream_server.jobs.error import JobError, Reason
from stream_server.transport.answer import error_response
from stream_server.transport.dialect import refusal


def fallback(routers: Iterable[APIRouter]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler of the framework's own refusals.

    It answers in the shape of the dialect whose path it is, and in OpenAI's, which has what most others have, where it
    is nobody's.
    """
    routes = [route for router in routers for route in router.routes if isinstance(route, Route)]

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.scope["path"]
        here = [route for route in routes if route.path == path]  # rather than one with a parameter that would match
        here = here or [route for route in routes if route.path_regex.match(path)]
        shape = next((route.refuse for route in here if hasattr(route, "refuse")), error_response)
        if error.status_code != 405:
            cause = JobError(Reason.NOT_FOUND, "there is nothing here; /docs lists what there is")
            return refusal(cause, request, shape)
        # The framework names the methods of one route only, and a path may have several.
        methods = {*(error.headers or {}).get("Allow", "").split(", ")}.union(*(route.methods or () for route in here))
        allowed = ", ".join(sorted(methods - {""}))
        response = refusal(JobError(Reason.METHOD_NOT_ALLOWED, f"this takes {allowed} only"), request, shape)
        response.headers["Allow"] = allowed
        return response

    return answer
