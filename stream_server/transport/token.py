"""``POST /v1/tokens``: a key for a browser, good for a moment. What a token is, `stream_server.auth` knows."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_server.auth import Caller, Scope
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.transport.dialect import dialect_router, responses
from stream_server.transport.http import ErrorBody, Served, require_key

MAX_BODY: Final = 4096
"""Bytes of a request. It is read here, behind the key: FastAPI would read any length of it before."""


class TokenRequest(BaseModel):
    """What the token is to be good for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scope: Literal["live"] = Field("live", description="Live sessions; nothing else can be had.")
    expires_in: float | None = Field(
        None,
        ge=1,
        description="Seconds in which it must be used; by default, and at most, the server's token_lifetime.",
    )


class Token(BaseModel):
    """A token to open sessions with until `expires_at` (seconds since the epoch); they may go on for longer."""

    token: str
    expires_at: int


def error_response(error: JobError, _: Request) -> Response:
    """An error in the shape of our own routes."""
    return JSONResponse({"error": {"code": error.reason, "message": error.message}}, STATUS[error.reason])


async def _key_holder(request: Request, service: Served, caller: Annotated[Caller, Depends(require_key)]) -> Caller:
    """The caller, who came with a key itself, and has not made too many requests."""
    if caller.by_token:
        raise JobError(Reason.FORBIDDEN, "a token cannot be exchanged for another; come with the API key")
    if not caller.id:
        raise JobError(Reason.CONFLICT, "this server asks for no key, so there is nothing that a token would stand for")
    if Scope.LIVE not in caller.scopes:
        raise JobError(Reason.FORBIDDEN, "this API key is not for live sessions; it lacks the scope live")
    try:
        service.quota.enter(caller).leave()
    finally:
        request.state.rate_headers = service.quota.headers(caller)
    return caller


router = dialect_router(error_response, tags=["Keys"])


@router.post(
    "/v1/tokens",
    summary="Make a token",
    response_description="The token, which is shown once.",
    responses=responses(ErrorBody, 409, 413),
    openapi_extra={
        "requestBody": {
            "description": "What the token is to be good for; without a body, what tokens are good for by default.",
            "content": {"application/json": {"schema": TokenRequest.model_json_schema()}},
        }
    },
)
async def make_token(request: Request, service: Served, caller: Annotated[Caller, Depends(_key_holder)]) -> Token:
    """A token that a page may open live sessions with, as `?token=` of the WebSocket, without knowing the key.

    It counts as the key it was made with, within the same limits, and dies with it.
    """
    wanted = await _read(request)
    most = service.settings.token_lifetime
    lifetime = most if wanted.expires_in is None else wanted.expires_in
    if lifetime > most:
        raise JobError(Reason.INVALID_PARAMETER, f"expires_in is at most {most:g} s", parameter="expires_in")
    token, expires_at = service.keys.issue_token(caller, lifetime)
    return Token(token=token, expires_at=expires_at)


async def _read(request: Request) -> TokenRequest:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise JobError(Reason.FILE_TOO_LARGE, f"the request is longer than {MAX_BODY} bytes")
    try:
        return TokenRequest.model_validate_json(body or b"{}")
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "body"
        raise JobError(Reason.INVALID_PARAMETER, f"{name}: {first['msg'].lower()}", parameter=name) from None
