import gzip
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from obstore.store import S3Store

from stream_server.jobs.database import open_database
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.fetch import check_address, fetch
from stream_server.jobs.object import ObjectStore, StoredObject
from stream_server.jobs.table import objects
from stream_server.settings import Settings
from tests.support.audio import sound
from tests.support.bucket import running_bucket
from tests.support.site import HERE, Request, Site, content, endless, redirect, running_site

WAV = sound("WAV")


class Bench(SimpleNamespace):
    site: Site
    store: ObjectStore
    engine: sa.Engine
    data_dir: Path
    heard: list[float | None]

    def fetch(self, path: str, **settings: object) -> StoredObject:
        url = self.site.url(path) if path.startswith("/") else path
        settings = {"data_dir": self.data_dir, "allowed_hosts": HERE, **settings}
        return fetch(url, self.store, Settings.load({}, **settings), key="k", job="j", progress=self.heard.append)

    def failure(self, path: str, **settings: object) -> JobError:
        """What fetching fails with; nothing is left."""
        with pytest.raises(JobError) as caught:
            self.fetch(path, **settings)
        with self.engine.connect() as connection:
            assert connection.execute(sa.select(objects)).all() == []
        assert list((self.data_dir / "objects").iterdir()) == []
        return caught.value


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings.load({}, data_dir=tmp_path)
    engine = open_database(settings)
    with running_site() as site:
        store = ObjectStore(settings, engine, "me")
        yield Bench(site=site, store=store, engine=engine, data_dir=tmp_path, heard=[])
    engine.dispose()


def test_a_file_is_fetched_whatever_it_is_called(bench: Bench) -> None:
    bench.site.pages = {"/a.png?x=1": content(WAV, "image/png"), "/moved": redirect("/a.png?x=1")}
    stored = bench.fetch("/moved")
    assert (stored.size, stored.format) == (len(WAV), "wav")
    with bench.store.open(stored.name) as file:
        assert file.read() == WAV
    assert bench.heard[-1] == 1.0


def test_a_file_of_unknown_length(bench: Bench) -> None:
    def answer(request: Request) -> None:
        request.begin()
        request.give(WAV)

    bench.site.pages = {"/a": answer}
    assert bench.fetch("/a").size == len(WAV)
    assert set(bench.heard) == {None}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://10.0.0.1/a.wav", "not a public address"),
        ("http://2130706434/a.wav", "not a public address"),
        ("http://169.254.169.254/latest/meta-data", "not a public address"),
        ("ftp://example.com/a.wav", "begin with http"),
        ("file:///etc/passwd", "begin with http"),
        ("etc/passwd", "begin with http"),
        ("", "begin with http"),
        ("http://user:secret@example.com/", "user name"),
        ("http://example.com/\n", "characters"),
        ("http://example.com/" + "a" * 5000, "at most 4096"),
        ("s3://bucket/a.wav", "not one of those"),
        ("s3:///a.wav", "not one of those"),
        ("s3://mine", "names no object"),
        ("s3://mine/", "names no object"),
        ("s3://mine/../other/a.wav", "names no object"),
        ("s3://[/a", "not a valid address"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str, bench: Bench) -> None:
    settings = Settings.load({}, data_dir=bench.data_dir, allowed_hosts=("127.0.0.1",), s3_buckets=("mine",))
    with pytest.raises(JobError, match=message) as caught:
        check_address(url, settings)
    assert caught.value.reason is Reason.URL_REFUSED
    assert bench.failure(url, allowed_hosts=("127.0.0.1",), s3_buckets=("mine",)).reason is Reason.URL_REFUSED


def test_names_and_redirects_that_lead_inside_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.site.pages = {"/a": redirect("http://10.0.0.1/"), "/b": redirect("file:///etc/passwd")}
    for path in ("/a", "/b"):
        assert bench.failure(path).reason is Reason.URL_REFUSED
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: real("127.0.0.1", *args, **kwargs))
    assert bench.failure(f"http://public.example:{bench.site.port}/a", allowed_hosts=()).reason is Reason.URL_REFUSED
    assert [path for path, _ in bench.site.asked] == ["/a", "/b"]


def broken(request: Request) -> None:
    request.begin(Content_Length=str(len(WAV)))
    request.give(WAV[:1000])


def test_what_fails_is_told(bench: Bench) -> None:
    bench.site.pages = {
        "/loop": redirect("/loop"),
        "/broken": broken,
        "/zipped": content(gzip.compress(WAV), Content_Encoding="gzip"),
        "/image": content(b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        "/empty": content(b""),
        "/hls": content(b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "application/vnd.apple.mpegurl"),
    }
    for path, reason, message in (
        ("/missing", Reason.URL_FAILED, "status 404"),
        ("/loop", Reason.URL_FAILED, "redirected too often"),
        ("/broken", Reason.URL_FAILED, "broke off"),
        ("/zipped", Reason.URL_FAILED, "compressed"),
        ("/image", Reason.UNSUPPORTED_FORMAT, "not audio"),
        ("/empty", Reason.UNSUPPORTED_FORMAT, "empty"),
        ("/hls", Reason.UNSUPPORTED_FORMAT, "not audio"),
        ("http://does-not-exist.invalid/a.wav", Reason.URL_FAILED, "cannot be resolved"),
        ("http://127.0.0.1:9/a.wav", Reason.URL_FAILED, "cannot be fetched"),
        (bench.site.url("/image").replace("http", "https"), Reason.URL_FAILED, "cannot be fetched"),
    ):
        error = bench.failure(path)
        assert error.reason is reason, path
        assert message in error.message


def test_what_is_too_large_is_not_fetched(bench: Bench) -> None:
    bench.site.pages = {"/declared": content(WAV), "/endless": endless(WAV, 0)}
    assert bench.failure("/declared", max_upload_bytes=len(WAV) - 1).reason is Reason.FILE_TOO_LARGE
    assert bench.failure("/endless", max_upload_bytes=10**6).reason is Reason.FILE_TOO_LARGE
    assert bench.site.sent["/endless"] < 10**7


def test_a_download_that_drips_comes_to_an_end(bench: Bench) -> None:
    """Every byte comes in time, and all of them never would: in the body, and in the head."""

    def head(request: Request) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not request.site.closing.wait(0.05):
            request.wfile.write(b"X-A: b\r\n")

    bench.site.pages = {"/body": endless(WAV[:100], 0.05), "/head": head}
    for path in ("/body", "/head"):
        error = bench.failure(path, fetch_timeout=0.5)
        assert error.reason is Reason.URL_FAILED
        assert "in time" in error.message


PAGE = b"""<!DOCTYPE html><html><head><title>A talk</title></head><body><audio src="%s"></audio></body></html>"""


def test_a_page_that_plays_a_recording(bench: Bench) -> None:
    pytest.importorskip("yt_dlp")
    bench.site.pages = {"/talk": content(PAGE % b"/a.wav", "text/html"), "/a.wav": content(WAV)}
    assert bench.fetch("/talk").size == len(WAV)


def test_what_a_page_leads_to_is_judged_as_well(bench: Bench) -> None:
    pytest.importorskip("yt_dlp")
    bench.site.pages = {
        "/direct": content(PAGE % b"http://10.0.0.1/a.wav", "text/html"),
        "/file": content(PAGE % b"file:///etc/passwd", "text/html"),
        "/hop": content(PAGE % b"/inside.wav", "text/html"),
        "/inside.wav": redirect("http://10.0.0.1/a.wav"),
        "/frame": content(b'<html><meta http-equiv="refresh" content="0; url=http://10.0.0.1/">', "text/html"),
        "/none": content(b"<html>nothing to hear</html>", "text/html"),
    }
    for path, reason in (
        ("/direct", Reason.URL_REFUSED),
        ("/hop", Reason.URL_REFUSED),
        ("/frame", Reason.URL_REFUSED),
        ("/none", Reason.UNSUPPORTED_FORMAT),
    ):
        assert bench.failure(path).reason is reason, path
    assert bench.failure("/file").reason in (Reason.URL_REFUSED, Reason.UNSUPPORTED_FORMAT)


def test_without_the_extra_a_page_is_refused_and_the_extra_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    bench.site.pages = {"/talk": content(PAGE % b"/a.wav", "text/html")}
    error = bench.failure("/talk")
    assert error.reason is Reason.UNSUPPORTED_FORMAT
    assert "extra 'web'" in error.message


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_bucket(monkeypatch) as name:
        yield name


def test_an_object_of_a_bucket(bench: Bench, bucket: str) -> None:
    S3Store(bucket).put("talks/ü 1.wav", WAV)
    S3Store(bucket).put("image.wav", b"no audio at all")
    stored = bench.fetch(f"s3://{bucket}/talks/ü 1.wav", s3_buckets=(bucket,))
    assert (stored.size, stored.format) == (len(WAV), "wav")
    assert bench.heard[-1] == 1.0
    bench.store.drop([stored.name])
    for address, reason, settings in (
        (f"s3://{bucket}/talks/ü 1.wav", Reason.URL_REFUSED, {}),
        (f"s3://{bucket}/missing.wav", Reason.URL_FAILED, {"s3_buckets": (bucket,)}),
        ("s3://missing/a.wav", Reason.URL_FAILED, {"s3_buckets": ("missing",)}),
        (f"s3://{bucket}/image.wav", Reason.UNSUPPORTED_FORMAT, {"s3_buckets": (bucket,)}),
        (f"s3://{bucket}/talks/ü 1.wav", Reason.FILE_TOO_LARGE, {"s3_buckets": (bucket,), "max_upload_bytes": 2000}),
    ):
        assert bench.failure(address, **settings).reason is reason
