"""Signed uploads: an address that takes one file without a key, and the name by which a job may use the file.

Pages of any origin may use one. The signature holds whose file it will be; the object store sees to it that an address
is good once and for a while. It does not know what the file is for.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Annotated, Final
from urllib.parse import quote, unquote

from fastapi import Path, Query, Request
from pydantic import AfterValidator, BaseModel, Field
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Source
from stream_server.token import TokenError
from stream_server.transport.body import body_chunks
from stream_server.transport.dialect import TranscribeCaller, dialect_router, responses, transcriptions_of
from stream_server.transport.http import service_of
from stream_server.transport.lesan_shape import ErrorBody, error_response

_FILE_URL: Final = re.compile(r"(?:upload|lesan)://file_([0-9a-f]{32})(?:/([^/]*))?")
_MEDIA_TYPE: Final = (
    r"^[A-Za-z0-9.+-]{1,100}/[A-Za-z0-9.+-]{1,100}"
    r"( *; *[A-Za-z0-9_-]{1,100}=([A-Za-z0-9.,+_-]{1,100}|\"[ !#-\[\]-~]{0,100}\")){0,9}$"
)
SIGNED: Final = re.compile(r"/v1/uploads/(?!signed-url$)[^/]+")


class SignedAddress(BaseModel):
    upload_url: str = Field(description="Takes the file by PUT, once and without a key.")
    file_url: str = Field(description="What to give as `audio_url` or `url` then.")
    file_id: str


class UploadedFile(BaseModel):
    file_id: str
    size: int = Field(description="Bytes.")
    format: str = Field(description="What the content turned out to be.")


class CrossOrigin:
    """Lets pages of any origin use signed addresses, and read what they answer: whoever has one may use it.

    A plain ASGI layer around everything, so that errors of every kind are told, too. Other addresses are as without.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app, allow_origins=["*"], allow_methods=["PUT"], allow_headers=["*"], expose_headers=["X-Request-Id"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_signed = scope["type"] == "http" and SIGNED.fullmatch(scope["path"])
        await (self._open if is_signed else self._app)(scope, receive, send)


def _media_type(value: str | None) -> str | None:
    """The type without its parameters, which a browser may write in several ways."""
    if value is None:
        return None
    if not re.fullmatch(_MEDIA_TYPE, value):
        raise ValueError("has to be a media type, such as audio/wav or audio/webm;codecs=opus")
    return value.partition(";")[0].strip()


router = dialect_router(error_response, tags=["Lesan"])


@router.get(
    "/v1/uploads/signed-url",
    summary="Sign an upload",
    response_description="Where to upload to, and what to call the file then.",
    responses=responses(ErrorBody),
)
async def signed_url(
    request: Request,
    caller: TranscribeCaller,
    filename: Annotated[str, Query(min_length=1, max_length=255, description="What the file is called.")],
    content_type: Annotated[
        str | None,
        Query(
            description="The `Content-Type` that the upload has to have, whatever its parameters; any, if not given.",
            json_schema_extra={"pattern": _MEDIA_TYPE},
        ),
        AfterValidator(_media_type),
    ] = None,
) -> SignedAddress:
    """An address for the upload of one file, and the one by which jobs may then use it."""
    transcriptions = transcriptions_of(request)
    name = await asyncio.to_thread(transcriptions.objects.await_upload, key=caller.id)
    expires_at = int(time.time() + transcriptions.settings.upload_expiry)
    token = service_of(request).uploads.sign(f"{name} {content_type or '*'} {caller.id}", expires_at)
    return SignedAddress(
        upload_url=f"{request.base_url}v1/uploads/{token}",
        file_url=f"upload://file_{name}/{quote(filename, safe='')}",
        file_id=f"file_{name}",
    )


@router.put(
    "/v1/uploads/{token}",
    summary="Upload a file",
    response_description="The file is there, and waits for its job.",
    responses=responses(ErrorBody, 404, 409, 413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file, in any supported format.",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(
    request: Request, token: Annotated[str, Path(max_length=1000, description="From `upload_url`.")]
) -> UploadedFile:
    """Take the file for which the address was signed. What fails half-way can be tried again."""
    transcriptions = transcriptions_of(request)
    try:
        name, content_type, key = service_of(request).uploads.read(token, time.time()).split(" ", 2)
    except TokenError as error:
        raise JobError(Reason.FORBIDDEN, f"this is not an address for an upload: {error}") from None
    sent = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type != "*" and sent.lower() != content_type.lower():
        raise JobError(
            Reason.INVALID_PARAMETER,
            f"this address was signed for Content-Type {content_type}, not {sent or 'none'}",
            parameter="content_type",
        )
    most = transcriptions.settings.max_upload_bytes
    stored = await transcriptions.objects.receive(body_chunks(request), key=key, most=most, name=name)
    return UploadedFile(file_id=f"file_{name}", size=stored.size, format=stored.format)


def source_at(url: str) -> Source:
    """The recording at the address of a parameter ``url``: a signed upload, or what is to be fetched.

    Raises:
        JobError: as `uploaded`.
    """
    upload = uploaded(url, parameter="url")
    return Source(url=url) if upload is None else Source(object=upload[0], name=upload[1])


def uploaded(address: str, *, parameter: str = "audio_url") -> tuple[str, str] | None:
    """The object behind a ``file_url``, and what the file is called; None for addresses of other kinds.

    ``parameter``: what the address was given as.

    Raises:
        JobError: ``INVALID_PARAMETER``, for one that was not made here.
    """
    if not address.startswith(("upload:", "lesan:")):
        return None
    found = _FILE_URL.fullmatch(address)
    if found is None:
        raise JobError(
            Reason.INVALID_PARAMETER,
            "this is not the address of an upload; take the file_url from /v1/uploads/signed-url",
            parameter=parameter,
        )
    return found[1], unquote(found[2] or "")
