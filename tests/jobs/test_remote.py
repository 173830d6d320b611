import io
import math
from collections.abc import Iterator

import httpx2
import pytest

from stream_server.jobs.remote import BLOCK_BYTES, HEAD_BYTES, MAX_BLOCKS, RemoteFile
from stream_server.network import guarded_client
from tests.support.site import HERE, Site, content, ranged, running_site

BODY = bytes(range(256)) * (4 * BLOCK_BYTES // 256) + b"the end"


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with guarded_client(HERE, timeout=5) as client:
        yield client


def open_remote(client: httpx2.Client, site: Site, body: bytes, *, has_ranges: bool = True) -> RemoteFile:
    site.pages = {"/a": ranged(body) if has_ranges else content(body)}
    return RemoteFile(client, site.url("/a"), {}, listen_sec=math.inf)


def test_it_reads_like_a_file(client: httpx2.Client, site: Site) -> None:
    remote, file = io.BufferedReader(open_remote(client, site, BODY)), io.BytesIO(BODY)
    for place in ((0, 0), (-7, 2), (BLOCK_BYTES - 5, 0), (10, 1), (-5, 1), (len(BODY) + 100, 0), (3, 0)):
        assert remote.seek(*place) == file.seek(*place)
        assert remote.read(100) == file.read(100)
        assert remote.tell() == file.tell()
    remote.seek(0)
    assert remote.read() == BODY


def test_only_what_is_asked_for_is_fetched_and_that_once(client: httpx2.Client, site: Site) -> None:
    remote = open_remote(client, site, BODY)
    remote.seek(-7, io.SEEK_END)
    for _ in range(2):
        remote.seek(-7, io.SEEK_END)
        assert remote.read(100) == b"the end"
        remote.seek(0)
        assert remote.read(10) == BODY[:10]
    last = 4 * BLOCK_BYTES
    assert [asked for _, asked in site.asked] == [
        f"bytes=0-{BLOCK_BYTES - 1}",
        f"bytes={last}-{last + BLOCK_BYTES - 1}",
    ]


def test_it_comes_to_an_end(client: httpx2.Client, site: Site) -> None:
    remote = open_remote(client, site, bytes((MAX_BLOCKS + 10) * BLOCK_BYTES))
    assert len(io.BufferedReader(remote).read()) == (MAX_BLOCKS + 1) * BLOCK_BYTES
    assert len(site.asked) == MAX_BLOCKS + 1


def test_without_ranges_there_is_only_the_head(client: httpx2.Client, site: Site) -> None:
    remote = open_remote(client, site, bytes(2 * HEAD_BYTES), has_ranges=False)
    assert remote.size == 2 * HEAD_BYTES
    assert remote.read() == bytes(HEAD_BYTES)
    assert len(site.asked) == 1
