"""Finds the recording that a web page plays, by yt-dlp (the extra ``web``).

yt-dlp only reads pages here, and all its requests go through our guarded client: no handler of its own, no external
program, no player script is run. What it finds is fetched by us. It does not know how a download is stored.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from stream_server.jobs.error import JobError, Reason
from stream_server.network import AddressRefused

logger = logging.getLogger(__name__)

MAX_PAGE_BYTES: Final = 16 * 2**20
MAX_REQUESTS: Final = 50
"""Of one page; what needs more is a catalogue and no recording."""

_FORMAT: Final = "bestaudio[protocol^=http][protocol!*=dash]/best[protocol^=http][protocol!*=dash]"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a page plays. ``url`` and ``headers``: how it is fetched; ``thumbnail``: an address."""

    url: str
    headers: dict[str, str]
    title: str | None
    duration_sec: float | None
    thumbnail: str | None
    is_live: bool


def is_page(content_type: str, head: bytes) -> bool:
    """Whether this is a web page: by what it says of itself, and by how it begins."""
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head")) or (
        content_type.lower().startswith(("text/html", "application/xhtml+xml")) and start.startswith(b"<")
    )


def find_recording(url: str, client: httpx2.Client) -> Recording:
    """What the page at ``url`` plays. The client's time bounds the search.

    Raises:
        JobError: UNSUPPORTED_FORMAT where there is nothing, or yt-dlp is not installed; URL_REFUSED where the page
            leads to addresses that are not public; URL_FAILED.
    """
    try:
        import yt_dlp
    except ImportError:
        raise JobError(
            Reason.UNSUPPORTED_FORMAT,
            "the address is a web page, not a recording; web pages need the extra 'web' (yt-dlp) on the server",
        ) from None
    network = _Network(client)
    options = {
        "format": _FORMAT,
        "skip_download": True,
        "noplaylist": True,
        "playlist_items": "1",
        "cachedir": False,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": _Log(),
        "js_runtimes": {},  # no program of a page's choice runs here
        "proxy": "",
        "enable_file_urls": False,
        "check_formats": False,
        "allow_unplayable_formats": False,
        "ignore_no_formats_error": False,
    }
    try:
        with _reader_class()(options, network) as reader:
            found = reader.sanitize_info(reader.extract_info(url, download=False))
    except yt_dlp.utils.YoutubeDLError as error:
        if network.failure is not None:
            raise network.failure from None
        logger.info("no recording found at a web page: %s", _unsigned(str(error)))
        raise JobError(
            Reason.UNSUPPORTED_FORMAT, "the address is a web page in which no recording was found that can be fetched"
        ) from None
    if found.get("_type") == "playlist":
        found = next(iter(found.get("entries") or ()), None) or {}
    address = found.get("url")
    if not isinstance(address, str):
        raise JobError(Reason.UNSUPPORTED_FORMAT, "the address is a web page in which no recording was found")
    duration = found.get("duration")
    return Recording(
        url=address,
        headers={str(name): str(value) for name, value in (found.get("http_headers") or {}).items()},
        title=found.get("title"),
        duration_sec=float(duration) if isinstance(duration, int | float) else None,
        thumbnail=found.get("thumbnail"),
        is_live=bool(found.get("is_live")),
    )


def _unsigned(message: str) -> str:
    """The message, with no more of an address than its host: the rest may hold a password or a signature."""
    return re.sub(r"(https?://)(?:[^\s/@]*@)?([^\s/?#'\"]+)[^\s'\"]*", r"\1\2/...", message)


class _Log:
    """What yt-dlp says, for those who look for it: a page that it cannot read is no fault of the server."""

    def debug(self, message: str, **_: Any) -> None:
        logger.debug("yt-dlp: %s", _unsigned(message))

    stdout = stderr = info = warning = error = report_warning = debug


class _Network:
    """The one way out that yt-dlp has."""

    def __init__(self, client: httpx2.Client) -> None:
        self.failure: JobError | None = None
        self._client = client
        self._requests = 0

    def send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[httpx2.Response, bytes]:
        """The response, and its content.

        Raises:
            JobError, httpx2.HTTPError
        """
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            self.failure = JobError(Reason.URL_FAILED, "the web page takes too many requests to find a recording in")
            raise self.failure
        content_read = bytearray()
        try:
            with self._client.stream(
                method, url, headers={**headers, "Accept-Encoding": "identity"}, content=content
            ) as response:
                for piece in self._pieces(response):
                    content_read += piece
        except AddressRefused as error:
            self.failure = JobError(Reason.URL_REFUSED, f"the web page leads to an address that is refused: {error}")
            raise self.failure from None
        except httpx2.TimeoutException:
            self.failure = JobError(Reason.URL_FAILED, "the web page did not answer in time")
            raise self.failure from None
        return response, bytes(content_read)

    def _pieces(self, response: httpx2.Response) -> Iterator[bytes]:
        """As much as a page may have; a recording is asked for only to see what it is."""
        size = 0
        for piece in response.iter_raw():
            yield piece
            size += len(piece)
            is_text = response.headers.get("content-type", "").startswith(("text/", "application/"))
            if size > (MAX_PAGE_BYTES if is_text else 64 * 1024):
                return


def _reader_class() -> Any:
    from yt_dlp import YoutubeDL
    from yt_dlp.networking.common import RequestDirector, RequestHandler, Response
    from yt_dlp.networking.exceptions import HTTPError, TransportError

    class GuardedRH(RequestHandler):  # type: ignore[misc] # yt-dlp wants these two letters at the end
        """yt-dlp's requests, made by our client."""

        _SUPPORTED_URL_SCHEMES = ("http", "https")
        _SUPPORTED_PROXY_SCHEMES = None
        _SUPPORTED_FEATURES = None

        def __init__(self, network: _Network, **options: Any) -> None:
            super().__init__(**options)
            self._network = network

        def _check_extensions(self, extensions: dict[str, Any]) -> None:
            extensions.clear()  # cookies are the client's; the rest is about TLS and proxies, and not for pages to say

        def _send(self, request: Any) -> Any:
            data = request.data
            content = data if isinstance(data, bytes) or data is None else b"".join(data)
            headers = dict(self._get_headers(request))
            if cookies := self.cookiejar.get_cookie_header(request.url):
                headers["Cookie"] = cookies
            try:
                response, body = self._network.send(request.method, request.url, headers, content)
            except (JobError, httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise TransportError(cause=error) from error
            answer = Response(io.BytesIO(body), str(response.url), dict(response.headers), response.status_code)
            if not response.is_success:
                raise HTTPError(answer)
            return answer

    class Reader(YoutubeDL):  # type: ignore[misc]
        """yt-dlp with one request handler, ours."""

        def __init__(self, options: dict[str, Any], network: _Network) -> None:
            self._network = network
            super().__init__(options)

        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
            director = RequestDirector(logger=_Log())
            director.add_handler(
                GuardedRH(self._network, logger=_Log(), headers=self.params["http_headers"], cookiejar=self.cookiejar)
            )
            return director

    return Reader
