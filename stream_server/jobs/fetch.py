"""Downloads a recording from its address into the object store: ``http(s)://``, ``s3://``, and what a web page plays.

Whatever the address, its redirects or its page say, only public hosts are connected to (`stream_server.network`), and
only as much and as long as the settings allow. It does not know what the job is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx2
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.object import ObjectStore, StoredObject
from stream_server.jobs.page import find_recording, is_page
from stream_server.network import AddressGuard, AddressRefused, guarded_client
from stream_server.settings import Settings

MAX_URL: Final = 4096
SILENCE_SEC: Final = 30.0
"""How long an address may send nothing."""
PIECE_BYTES: Final = 256 * 1024

IDENTITY: Final = {"Accept-Encoding": "identity"}
"""Audio does not gain by compression, and what unfolds to more than was sent is of no use to honest callers."""


def check_address(url: str, settings: Settings, *, is_callback: bool = False) -> None:
    """What can be said of an address before it is used: its form, its scheme, its bucket, a host that is a number.

    Raises:
        JobError: URL_REFUSED.
    """
    if len(url) > MAX_URL:
        raise JobError(Reason.URL_REFUSED, f"an address has at most {MAX_URL} characters")
    if not url.isprintable():
        raise JobError(Reason.URL_REFUSED, "the address has characters in it that no address has")
    if url.startswith("s3://") and not is_callback:
        s3_place(url, settings)
        return
    try:
        AddressGuard(settings.allowed_hosts).check(url)
    except AddressRefused as error:
        raise refusal(error) from None


def s3_place(url: str, settings: Settings) -> tuple[str, str]:
    """The bucket and the key of an ``s3://`` address.

    Raises:
        JobError: URL_REFUSED, for buckets that are not in the settings.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise JobError(Reason.URL_REFUSED, "it is not a valid address") from None
    key = url.removeprefix(f"s3://{parts.netloc}/")
    if parts.netloc not in settings.s3_buckets:
        raise JobError(Reason.URL_REFUSED, f"the bucket {parts.netloc!r} is not one of those in the setting s3_buckets")
    if not key or key == url or any(part in ("", ".", "..") for part in key.split("/")):
        raise JobError(Reason.URL_REFUSED, "the address names no object of the bucket")
    return parts.netloc, key


def fetch(
    url: str,
    objects: ObjectStore,
    settings: Settings,
    *,
    key: str,
    job: str,
    progress: Callable[[float | None], None],
) -> StoredObject:
    """Download a recording; blocks. ``progress`` hears the share that is there, None where the length is not known.

    Raises:
        JobError: URL_REFUSED, URL_FAILED, FILE_TOO_LARGE, UNSUPPORTED_FORMAT, SERVICE_UNAVAILABLE.
    """
    check_address(url, settings)
    download = _Download(objects, settings, key, job, progress)
    if url.startswith("s3://"):
        return download.from_bucket(url)
    return download.from_web(url)


class _Download:
    def __init__(
        self, objects: ObjectStore, settings: Settings, key: str, job: str, progress: Callable[[float | None], None]
    ) -> None:
        self._objects = objects
        self._settings = settings
        self._key = key
        self._job = job
        self._progress = progress

    def from_web(self, url: str) -> StoredObject:
        total = self._settings.fetch_timeout
        with web_errors(), guarded_client(self._settings.allowed_hosts, timeout=SILENCE_SEC, total=total) as client:
            with client.stream("GET", url, headers=IDENTITY) as response:
                require_success(response)
                pieces = response.iter_raw()
                head = next(pieces, b"")
                if not is_page(response.headers.get("content-type", ""), head):
                    return self._store(_chained(head, pieces), _length(response))
            recording = find_recording(url, client)
            with client.stream("GET", recording.url, headers=recording.headers | IDENTITY) as response:
                require_success(response)
                return self._store(response.iter_raw(), _length(response))

    def from_bucket(self, url: str) -> StoredObject:
        bucket, key = s3_place(url, self._settings)
        with bucket_errors():
            found = obstore.get(S3Store(bucket), key)
            return self._store((bytes(piece) for piece in found.stream(PIECE_BYTES)), found.meta["size"])

    def _store(self, pieces: Iterator[bytes], length: int | None) -> StoredObject:
        most = self._settings.max_upload_bytes
        if length is not None and length > most:
            raise JobError(
                Reason.FILE_TOO_LARGE, f"the file has {length / 10**6:.4g} MB; {most / 10**6:.10g} MB is the most"
            )
        return self._objects.receive_sync(self._watched(pieces, length), key=self._key, job=self._job, most=most)

    def _watched(self, pieces: Iterator[bytes], length: int | None) -> Iterator[bytes]:
        done = 0
        for piece in pieces:
            yield piece
            done += len(piece)
            self._progress(min(1.0, done / length) if length else None)


def require_success(response: httpx2.Response) -> None:
    """Raises:
    JobError: URL_FAILED, for any other answer, and for one in a form that was not asked for.
    """
    if not response.is_success:
        raise JobError(Reason.URL_FAILED, f"the address answers with HTTP status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise JobError(Reason.URL_FAILED, "the address answers with compressed content, which was not asked for")


@contextmanager
def web_errors() -> Iterator[None]:
    """Says of what goes wrong in a request what a caller can make use of."""
    try:
        yield
    except AddressRefused as error:
        raise refusal(error) from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
        raise JobError(Reason.URL_REFUSED, "the address leads to one that is not http:// or https://") from None
    except httpx2.TimeoutException:
        raise JobError(Reason.URL_FAILED, "the address did not send everything in time") from None
    except httpx2.TooManyRedirects:
        raise JobError(Reason.URL_FAILED, "the address is redirected too often") from None
    except httpx2.RemoteProtocolError:
        raise JobError(Reason.URL_FAILED, "the connection to the address broke off") from None
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise JobError(Reason.URL_FAILED, f"the address cannot be fetched: {error}") from None


@contextmanager
def bucket_errors() -> Iterator[None]:
    """The same for a bucket; the store's own words may name keys and hosts of ours, and stay here."""
    try:
        yield
    except FileNotFoundError:
        raise JobError(Reason.URL_FAILED, "there is no such object in the bucket") from None
    except (BaseError, OSError):
        raise JobError(Reason.URL_FAILED, "the bucket cannot be read") from None


def refusal(error: AddressRefused) -> JobError:
    return JobError(Reason.URL_REFUSED, f"the address is refused: {error}")


def _length(response: httpx2.Response) -> int | None:
    declared = response.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else None


def _chained(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
