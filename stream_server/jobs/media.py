"""Says what a recording is before it is transcribed: how long, what it is called, its picture, whether it is live.

Little of it is read: some ranges of the file, or the page that plays it. It does not know who asks.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

import httpx2
from obstore.store import S3Store

from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.leaflet import read_leaflet
from stream_server.audio.type import HEAD_BYTES, detect
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.fetch import bucket_errors, check_address, s3_place
from stream_server.jobs.job import Source
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.page import find_recording, is_page
from stream_server.jobs.reader import open_object
from stream_server.jobs.remote import RemoteFile
from stream_server.network import guarded_client
from stream_server.settings import Settings

PROBE_SEC: Final = 20.0
"""How long a probe may take."""
LISTEN_SEC: Final = 5.0
"""How long one listens to an answer of unknown length; what neither ends in this time nor brings much is live."""
PROBES_AT_ONCE: Final = 16
MAX_PICTURE_BYTES: Final = 256 * 1024

_free = threading.BoundedSemaphore(PROBES_AT_ONCE)
_IMAGES: Final = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known of a recording. ``thumbnail``: an address, or a ``data:`` address of the picture in the file;
    ``size`` in bytes. Without a length, ``duration_sec`` is None."""

    duration_sec: float | None
    title: str | None
    thumbnail: str | None
    is_live: bool
    format: str | None
    size: int | None


async def probe_media(source: Source, objects: ObjectStore, settings: Settings, *, key: str) -> MediaInfo:
    """Look at a recording without downloading it. ``key``: whose uploads may be looked at.

    Raises:
        JobError: NOT_FOUND, URL_REFUSED, URL_FAILED, UNSUPPORTED_FORMAT, SERVICE_UNAVAILABLE. The last also where too
            many are being looked at.
    """
    if not _free.acquire(blocking=False):
        raise JobError(
            Reason.SERVICE_UNAVAILABLE,
            "too many recordings are being looked at; try again",
            retry_after=settings.retry_after,
        )
    looking = asyncio.get_running_loop().run_in_executor(_threads(), _probe, source, objects, settings, key)
    looking.add_done_callback(lambda _: _free.release())
    return await asyncio.shield(looking)


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of its own: a slow server elsewhere must not keep the others waiting for the database."""
    return ThreadPoolExecutor(PROBES_AT_ONCE, thread_name_prefix="probe")


def _probe(source: Source, objects: ObjectStore, settings: Settings, key: str) -> MediaInfo:
    if source.object is not None:
        stored = objects.find(source.object, key=key)
        with objects.open(stored.name) as file:
            return _described(file, source.name, stored.size)
    assert source.url is not None
    check_address(source.url, settings)
    if source.url.startswith("s3://"):
        bucket, path = s3_place(source.url, settings)
        with bucket_errors(), open_object(S3Store(bucket), path) as file:
            return _described(file, path, file.seek(0, io.SEEK_END))
    with guarded_client(settings.allowed_hosts, timeout=LISTEN_SEC, total=PROBE_SEC) as client:
        return _of_web(client, source.url)


def _of_web(client: httpx2.Client, url: str) -> MediaInfo:
    remote = RemoteFile(client, url, {}, listen_sec=LISTEN_SEC)
    if not is_page(remote.headers.get("content-type", ""), remote.head):
        return _of_file(remote)
    found = find_recording(url, client)
    if found.is_live or found.duration_sec is not None:
        return MediaInfo(found.duration_sec, found.title, found.thumbnail, found.is_live, None, None)
    info = _of_file(RemoteFile(client, found.url, found.headers, listen_sec=LISTEN_SEC))
    return replace(info, title=found.title or info.title, thumbnail=found.thumbnail or info.thumbnail)


def _of_file(remote: RemoteFile) -> MediaInfo:
    if remote.head.lstrip().startswith(b"#EXTM3U"):
        return _of_playlist(remote)
    name = remote.headers.get("icy-name") or unquote(urlsplit(remote.url).path)
    if remote.is_live or any(header.startswith("icy-") for header in remote.headers):
        return MediaInfo(None, _title(name), None, True, detect(remote.head[:HEAD_BYTES]), None)
    if remote.size is None:  # a file without an end cannot be looked into
        return MediaInfo(None, _title(name), None, False, detect(remote.head[:HEAD_BYTES]), None)
    return _described(io.BufferedReader(remote), name, remote.size)


def _described(file: BinaryIO, name: str, size: int) -> MediaInfo:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    found = detect(head)
    if found is None:
        raise JobError(
            Reason.UNSUPPORTED_FORMAT,
            "the file is empty" if not head else "this is not audio or video in a known format",
        )
    file.seek(0)
    try:
        leaflet = read_leaflet(file, largest_picture=MAX_PICTURE_BYTES)
    except UnsupportedAudio as error:
        raise JobError(Reason.UNSUPPORTED_FORMAT, error.message) from None
    except (ValueError, OverflowError):  # tags that are no text, places outside of any file
        raise JobError(Reason.UNSUPPORTED_FORMAT, "what the file says of itself cannot be read") from None
    return MediaInfo(
        leaflet.duration_sec, leaflet.title or _title(name), _data_address(leaflet.picture), False, found, size
    )


def _of_playlist(remote: RemoteFile) -> MediaInfo:
    """HTTP Live Streaming (RFC 8216): live, unless the list says that it has an end. Such streams are not fetched."""
    text = remote.head.decode("utf-8", "replace")
    if "#EXT-X-STREAM-INF" in text:
        raise JobError(Reason.UNSUPPORTED_FORMAT, "the address is a list of streams; give the address of one of them")
    if "#EXT-X-ENDLIST" not in text:
        return MediaInfo(None, _title(remote.url), None, True, "m3u8", None)
    duration = sum(float(length) for length in re.findall(r"^#EXTINF:(\d{1,6}(?:\.\d{1,9})?)", text, re.MULTILINE))
    return MediaInfo(duration, _title(remote.url), None, False, "m3u8", None)


def _title(name: str) -> str | None:
    return PurePosixPath(name).stem or None


def _data_address(picture: bytes | None) -> str | None:
    for magic, kind in _IMAGES:
        if picture is not None and picture.startswith(magic):
            return f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    return None
