import io
import math
from collections.abc import Callable, Iterator

import httpx2
import pytest

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.remote import BLOCK_BYTES, HEAD_BYTES, MAX_BLOCKS, RemoteFile
from stream_server.network import guarded_client
from tests.support.site import HERE, Request, Site, content, ranged, running_site

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


def declaring(**headers: str) -> Callable[[Request], None]:
    """A range of 100 bytes, or more than the head, with these headers."""

    def answer(request: Request) -> None:
        request.begin(206 if "Content_Range" in headers else 200, Content_Type="audio/wav", **headers)
        request.give(BODY[:100] if "Content_Range" in headers else bytes(HEAD_BYTES + BLOCK_BYTES))

    return answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Range": f"bytes 0-99/{10**18}"},
        {"Content_Range": "bytes 0-99/" + "9" * 30},
        {"Content_Range": "bytes 0-99/" + "9" * 5000},
        {"Content_Length": str(10**18)},
        {"Content_Length": "9" * 20},
        {"Content_Length": "9" * 5000},
    ],
    ids=lambda headers: " ".join(f"{name} {len(value)}" for name, value in headers.items()),
)
def test_a_size_that_no_file_has(headers: dict[str, str], client: httpx2.Client, site: Site) -> None:
    site.pages = {"/a": declaring(**headers)}
    with pytest.raises(JobError) as caught:
        RemoteFile(client, site.url("/a"), {}, listen_sec=math.inf)
    assert caught.value.reason is Reason.URL_FAILED


@pytest.mark.parametrize("headers", [{"Content_Range": "bytes 0-99/" + "9" * 18}, {"Content_Length": "9" * 18}])
def test_the_largest_size(headers: dict[str, str], client: httpx2.Client, site: Site) -> None:
    site.pages = {"/a": declaring(**headers)}
    remote = io.BufferedReader(RemoteFile(client, site.url("/a"), {}, listen_sec=math.inf))
    assert remote.seek(0, io.SEEK_END) == 10**18 - 1
    assert remote.read() == b""
