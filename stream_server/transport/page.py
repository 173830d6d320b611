"""The pages for people, ``/`` and ``/jobs``, and the browser client they are made with: files of `stream_browser`, as
they are. It knows nothing of what the pages do; what they may do, it says in headers.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import stream_browser

FOLDER: Final = Path(stream_browser.__file__).parent

PAGE_FOLDERS: Final = ("captions", "jobs", "shared")

PUBLIC: Final = re.compile(r"/browser/client/[^/]+")
"""What pages of any origin may import: the client is the same for all, and says nothing about the server."""

MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of what is served, by the end of its name; nothing else is. The machine's own table may call JavaScript
``text/plain``, and then browsers do not run it."""

_SHARED: Final = {
    "Cache-Control": "no-cache",  # kept, and asked for anew each time: after an update no two versions are mixed
    "X-Content-Type-Options": "nosniff",
}

CLIENT_HEADERS: Final = {
    **_SHARED,
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",  # for pages that have isolated themselves
}

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",  # AudioWorklet modules count as scripts
        "style-src 'self'",
        # The server's own WebSocket included: in CSP Level 3 'self' matches ws:// and wss:// of the same host and port
        # as well ("Does url match expression in origin"). Chromium, Firefox, and Safari from 15.4 on do so.
        "connect-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",  # recordings that are played back out of the page's memory
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",  # nobody lays a page of his own over the button that opens the microphone
    )
)

PAGE_HEADERS: Final = {
    **_SHARED,
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "microphone=(self), display-capture=(self), camera=(), geolocation=()",
    # Others are told nothing. `no-referrer` would tell them no less, but makes browsers send us `Origin: null` with
    # forms, and some have with fetch(), too; and a page without an origin is refused.
    "Referrer-Policy": "same-origin",
    # A page that holds a key shares its process, and a handle to its window, with no other site.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_READING: Final = ["GET", "HEAD"]

_files = StaticFiles(directory=FOLDER)

router = APIRouter(tags=["Pages"], include_in_schema=False)


@router.api_route("/", methods=_READING)
async def caption_page(request: Request) -> Response:
    """Captions of a microphone, a tab or a file."""
    return await _file(request, "captions/index.html", PAGE_HEADERS)


@router.api_route("/jobs", methods=_READING)
async def jobs_page(request: Request) -> Response:
    """Recordings to transcripts."""
    return await _file(request, "jobs/jobs.html", PAGE_HEADERS)


@router.api_route("/browser/client/{name}", methods=_READING)
async def client_file(request: Request, name: str) -> Response:
    """The modules of the client."""
    return await _file(request, f"client/{name}", CLIENT_HEADERS)


@router.api_route("/browser/{folder}/{name}", methods=_READING)
async def page_file(request: Request, folder: str, name: str) -> Response:
    """What the pages consist of; not they themselves, for what they link to is relative to addresses of their own."""
    if folder not in PAGE_FOLDERS or name.endswith(".html"):
        raise HTTPException(404)
    return await _file(request, f"{folder}/{name}", PAGE_HEADERS)


async def _file(request: Request, path: str, headers: dict[str, str]) -> Response:
    """A file, or 304 for who has it already."""
    media_type = MEDIA_TYPES.get(PurePath(path).suffix)
    if media_type is None:
        raise HTTPException(404)
    response = await _files.get_response(path, request.scope)
    response.headers.update(headers)
    if response.status_code != 304:
        response.headers["Content-Type"] = media_type
    return response
