import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from obstore.store import S3Store

from stream_server.jobs.database import open_database
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Source
from stream_server.jobs.media import PROBES_AT_ONCE, MediaInfo, probe_media
from stream_server.jobs.object import ObjectStore
from stream_server.settings import Settings
from tests.support.audio import jpeg, muxed, sound, unknown_webm
from tests.support.bucket import running_bucket
from tests.support.site import HERE, Request, Site, content, endless, ranged, redirect, running_site


class Bench(SimpleNamespace):
    site: Site
    store: ObjectStore
    settings: Settings

    async def probe(self, path: str) -> MediaInfo:
        url = path if "://" in path else self.site.url(path)
        return await probe_media(Source(url=url), self.store, self.settings, key="k")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings.load({}, data_dir=tmp_path, allowed_hosts=HERE)
    engine = open_database(settings)
    with running_site() as site:
        yield Bench(site=site, store=ObjectStore(settings, engine, "me"), settings=settings)
    engine.dispose()


LONG = sound("WAV", seconds=600, title="A long talk")


async def test_little_of_a_long_file_is_fetched(bench: Bench) -> None:
    bench.site.pages = {"/a.wav": ranged(LONG), "/moved": redirect("/a.wav")}
    info = await bench.probe("/moved")
    assert info == MediaInfo(600, "A long talk", None, False, "wav", len(LONG))
    assert bench.site.sent["/a.wav"] < 10**6 < len(LONG) / 10


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (muxed("mp3", "libmp3lame", rate=44100, seconds=60), "mp3"),
        (sound("FLAC", seconds=20), "flac"),
        (sound("OGG", "VORBIS", seconds=20), "ogg"),
        (muxed("ipod", "aac", rate=44100, seconds=60), "m4a"),  # its header is at the end
        (muxed("matroska", "aac", rate=44100, seconds=60), "mkv"),
    ],
    ids=["mp3", "flac", "ogg", "m4a", "mkv"],
)
async def test_the_length_of_any_container(body: bytes, name: str, bench: Bench) -> None:
    bench.site.pages = {"/a": ranged(body, "application/octet-stream")}
    info = await bench.probe("/a")
    assert (info.format, info.size, info.is_live) == (name, len(body), False)
    rate = 44100 if name in ("mp3", "m4a", "mkv") else 16000
    seconds = 60 if rate == 44100 else 20
    assert info.duration_sec == pytest.approx(seconds * 16000 / rate, abs=0.2)


@pytest.mark.parametrize("form", [("mp3", "libmp3lame"), ("mp4", "aac")])
async def test_title_and_picture(form: tuple[str, str], bench: Bench) -> None:
    picture = jpeg()
    bench.site.pages = {"/a": ranged(muxed(*form, title="A talk", picture=picture))}
    info = await bench.probe("/a")
    assert info.title == "A talk"
    assert info.thumbnail is not None
    kind, _, encoded = info.thumbnail.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(encoded) == picture


async def test_a_title_that_is_no_text(bench: Bench) -> None:
    body = muxed("matroska", "aac", title="Ubung").replace(b"Ubung", b"\xdcbung")
    stored = bench.store.receive_sync(iter([body]), key="k", job=None, most=10**7)
    found = await probe_media(Source(object=stored.name), bench.store, bench.settings, key="k")
    assert found.duration_sec == pytest.approx(2, abs=0.2), "what cannot be read as text does not spoil the rest"
    assert found.title == "\ufffdbung"


async def test_a_large_picture_is_left_out(bench: Bench) -> None:
    bench.site.pages = {"/a": ranged(muxed("mp3", "libmp3lame", picture=jpeg() + bytes(300_000)))}
    info = await bench.probe("/a")
    assert info.thumbnail is None
    assert info.duration_sec is not None


async def test_a_server_without_ranges(bench: Bench) -> None:
    """Of the long file only the head is read; a short one is read whole."""
    bench.site.pages = {"/long.wav": content(LONG), "/short": content(sound("WAV"))}
    info = await bench.probe("/long.wav")
    assert (info.duration_sec, info.size) == (600, len(LONG))
    assert (await bench.probe("/short")).duration_sec == 2


async def test_an_answer_without_a_length_that_ends(bench: Bench) -> None:
    body = sound("WAV")

    def answer(request: Request) -> None:
        request.begin()
        request.give(body)

    bench.site.pages = {"/a.wav": answer}
    assert await bench.probe("/a.wav") == MediaInfo(2, "a", None, False, "wav", len(body))


async def test_an_answer_without_a_length_that_brings_much(bench: Bench) -> None:
    """A recording, and not live; how long it is does not show."""
    body = sound("WAV", seconds=200)

    def answer(request: Request) -> None:
        request.begin()
        request.give(body)

    bench.site.pages = {"/a.wav": answer}
    assert await bench.probe("/a.wav") == MediaInfo(None, "a", None, False, "wav", None)


async def test_what_is_live(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_server.jobs.media.LISTEN_SEC", 0.3)
    mp3 = muxed("mp3", "libmp3lame")
    listing = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9.5,\na.ts\n#EXTINF:4.25,\nb.ts\n"
    bench.site.pages = {
        "/radio": endless(mp3, 0.02, Content_Type="audio/mpeg", icy_name="Radio One"),
        "/plain": endless(mp3, 0.02, Content_Type="audio/mpeg"),
        "/live.m3u8": content(listing, "application/vnd.apple.mpegurl"),
        "/done.m3u8": content(listing + b"#EXT-X-ENDLIST\n", "application/vnd.apple.mpegurl"),
    }
    assert await bench.probe("/radio") == MediaInfo(None, "Radio One", None, True, "mp3", None)
    assert (await bench.probe("/plain")).is_live
    assert (await bench.probe("/live.m3u8")).is_live
    assert await bench.probe("/done.m3u8") == MediaInfo(13.75, "done", None, False, "m3u8", None)


async def test_no_more_are_looked_at_than_there_are_threads(bench: Bench) -> None:
    gate = threading.Event()

    def slow(request: Request) -> None:
        gate.wait()
        content(sound("WAV"))(request)

    bench.site.pages = {"/slow.wav": slow}
    looking = [asyncio.create_task(bench.probe("/slow.wav")) for _ in range(PROBES_AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(JobError) as caught:
        await bench.probe("/slow.wav")
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    assert caught.value.retry_after is not None
    gate.set()
    assert {info.duration_sec for info in await asyncio.gather(*looking)} == {2}
    assert (await bench.probe("/slow.wav")).duration_sec == 2


async def test_what_lies_in_the_store(bench: Bench) -> None:
    body = sound("WAV")
    stored = bench.store.receive_sync(iter([body]), key="k", job=None, most=10**7)
    source = Source(object=stored.name, name="talk.mp3")
    found = await probe_media(source, bench.store, bench.settings, key="k")
    assert found == MediaInfo(2, "talk", None, False, "wav", len(body))
    with pytest.raises(JobError) as caught:
        await probe_media(source, bench.store, bench.settings, key="another")
    assert caught.value.reason is Reason.NOT_FOUND


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_bucket(monkeypatch) as name:
        yield name


async def test_an_object_of_a_bucket(bench: Bench, bucket: str) -> None:
    S3Store(bucket).put("talk.wav", LONG)
    settings = bench.settings.model_copy(update={"s3_buckets": (bucket,)})
    found = await probe_media(Source(url=f"s3://{bucket}/talk.wav"), bench.store, settings, key="k")
    assert found == MediaInfo(600, "A long talk", None, False, "wav", len(LONG))


async def test_a_page(bench: Bench) -> None:
    pytest.importorskip("yt_dlp")
    page = b'<!DOCTYPE html><html><head><title>A talk</title></head><body><audio src="/a.wav"></audio></body></html>'
    bench.site.pages = {"/talk": content(page, "text/html"), "/a.wav": ranged(LONG)}
    info = await bench.probe("/talk")
    assert (info.is_live, info.duration_sec) == (False, 600)
    assert info.title is not None
    assert info.title.startswith("A talk")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", Reason.URL_FAILED),
        ("/image", Reason.UNSUPPORTED_FORMAT),
        ("/empty", Reason.UNSUPPORTED_FORMAT),
        ("/unknown", Reason.UNSUPPORTED_FORMAT),
        ("/cut", Reason.UNSUPPORTED_FORMAT),
        ("/fickle", Reason.URL_FAILED),
        ("/inside", Reason.URL_REFUSED),
        ("/lists", Reason.UNSUPPORTED_FORMAT),
        ("/vast", Reason.URL_FAILED),
        ("/vaster", Reason.URL_FAILED),
        ("http://10.0.0.1/a.wav", Reason.URL_REFUSED),
        ("s3://bucket/a.wav", Reason.URL_REFUSED),
    ],
)
async def test_what_cannot_be_looked_at(path: str, reason: Reason, bench: Bench) -> None:
    body = muxed("ipod", "aac", rate=44100, seconds=120)

    def fickle(request: Request) -> None:
        if request.headers.get("Range", "").startswith("bytes=0-"):
            ranged(body)(request)
        else:
            request.begin(500, Content_Length="0")

    def vast(digits: int) -> Callable[[Request], None]:
        def answer(request: Request) -> None:
            request.begin(206, Content_Length="100", Content_Range=f"bytes 0-99/{'9' * digits}")
            request.give(body[:100])

        return answer

    bench.site.pages = {
        "/image": ranged(b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        "/empty": ranged(b""),
        "/unknown": ranged(unknown_webm()),
        "/cut": ranged(body[: len(body) // 2]),
        "/fickle": fickle,
        "/inside": redirect("http://10.0.0.1/"),
        "/vast": vast(30),
        "/vaster": vast(5000),
        "/lists": content(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"),
    }
    with pytest.raises(JobError) as caught:
        await bench.probe(path)
    assert caught.value.reason is reason
