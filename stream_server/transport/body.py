"""Reads the body of a request as it comes, for as long as it comes fast enough. It does not know what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from stream_server.jobs.error import JobError, Reason
from stream_server.transport.dialect import transcriptions_of

SLOWEST: Final = 256
"""Bytes a second, on the whole: who sends less would hold a connection for as long as they like."""


async def body_chunks(request: Request, *, most: int | None = None, framing: int = 0) -> AsyncGenerator[bytes, None]:
    """The body as it comes, in pieces that are not empty.

    most: bytes of content; by default those of the largest file. framing: bytes that may come beside it.

    Raises:
        JobError: UPLOAD_INCOMPLETE, also where it comes too slowly; FILE_TOO_LARGE, where it is longer, before any of
            it is read if that is declared; INVALID_PARAMETER, where it is compressed.
    """
    settings = transcriptions_of(request).settings
    most = settings.max_upload_bytes if most is None else most
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise JobError(Reason.INVALID_PARAMETER, "the body is compressed (Content-Encoding); send it as it is")
    if int(request.headers.get("content-length", 0)) > most + framing:
        raise _too_large(most)
    clock = asyncio.get_running_loop().time
    waited, size = 0.0, 0
    async with aclosing(request.stream()) as stream:
        while True:
            asked = clock()
            try:
                async with asyncio.timeout(settings.upload_timeout):
                    chunk = await anext(stream, None)
            except ClientDisconnect:
                raise JobError(Reason.UPLOAD_INCOMPLETE, "the client left before the upload was complete") from None
            except TimeoutError:
                patience = f"{settings.upload_timeout:g} s"
                raise JobError(Reason.UPLOAD_INCOMPLETE, f"nothing of the upload has come for {patience}") from None
            if chunk is None:
                return
            waited += clock() - asked
            size += len(chunk)
            if size > most + framing:
                raise _too_large(most)
            if waited > settings.upload_timeout and size < waited * SLOWEST:
                raise JobError(Reason.UPLOAD_INCOMPLETE, f"the upload brings less than {SLOWEST} bytes a second")
            if chunk:
                yield chunk


def _too_large(most: int) -> JobError:
    return JobError(Reason.FILE_TOO_LARGE, f"the body is larger than {most / 10**6:.10g} MB, the most that is taken")
