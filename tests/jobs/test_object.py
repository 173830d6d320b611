import asyncio
import multiprocessing
import os
import signal
import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from obstore.store import S3Store

from stream_server.audio.file import probe, read_audio
from stream_server.jobs.database import open_database, writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.table import objects
from stream_server.settings import Settings
from tests.support.audio import muxed, sound
from tests.support.bucket import running_bucket

MOST = 10**7
WAV = sound("WAV")


class Bench(SimpleNamespace):
    """A store, and a look behind it."""

    settings: Settings
    engine: sa.Engine
    store: ObjectStore
    folder: Path

    def rows(self) -> dict[str, str]:
        with self.engine.connect() as connection:
            return {row.name: row.state for row in connection.execute(sa.select(objects))}

    def files(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*") if path.is_file()}

    def is_empty(self) -> bool:
        return not self.rows() and not self.files()

    def other(self, owner: str) -> ObjectStore:
        return ObjectStore(self.settings, self.engine, owner)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings.load({}, data_dir=tmp_path)
    engine = open_database(settings)
    store = ObjectStore(settings, engine, "me")
    yield Bench(settings=settings, engine=engine, store=store, folder=tmp_path / "objects")
    engine.dispose()


async def pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def test_what_is_received_can_be_read(bench: Bench) -> None:
    stored = await bench.store.receive(pieces(WAV), key="k", most=MOST)
    assert (stored.size, stored.format) == (len(WAV), "wav")
    assert bench.rows() == {stored.name: "stored"}
    assert bench.files() == {stored.name}
    assert bench.store.find(stored.name, key="k") == stored
    with bench.store.open(stored.name) as file:
        assert file.read() == WAV
        file.seek(-4, os.SEEK_END)
        assert file.read() == WAV[-4:]
        assert probe(file).duration_sec == 2
    with bench.store.open(stored.name) as file:
        assert sum(block.shape[1] for block in read_audio(file)) == 32000


async def test_what_ffmpeg_reads_from_the_store(bench: Bench) -> None:
    stored = await bench.store.receive(pieces(muxed("mp4", "aac")), key="k", most=MOST)
    with bench.store.open(stored.name) as file:
        assert sum(block.shape[1] for block in read_audio(file)) == pytest.approx(32000, abs=2000)


def test_a_thread_can_receive_for_a_job(bench: Bench) -> None:
    stored = bench.store.receive_sync(iter([WAV[:10], WAV[10:]]), key="k", job="j", most=MOST)
    with bench.engine.connect() as connection:
        row = connection.execute(sa.select(objects)).one()
    assert (row.name, row.job, row.state, row.expires_at, row.owner) == (stored.name, "j", "stored", None, "me")
    bench.store.drop([stored.name], unclaimed_only=True)
    assert bench.rows() == {stored.name: "stored"}
    bench.store.drop([stored.name])
    bench.store.drop([stored.name])
    assert bench.is_empty()


@pytest.mark.parametrize(
    ("content", "most", "reason", "message"),
    [
        (b"", MOST, Reason.UNSUPPORTED_FORMAT, "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(10_000), MOST, Reason.UNSUPPORTED_FORMAT, "not audio or video"),
        (b"short", MOST, Reason.UNSUPPORTED_FORMAT, "not audio or video"),
        (WAV, len(WAV) - 1, Reason.FILE_TOO_LARGE, "larger than"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    bench: Bench, content: bytes, most: int, reason: Reason, message: str
) -> None:
    with pytest.raises(JobError, match=message) as caught:
        await bench.store.receive(pieces(content), key="k", most=most)
    assert caught.value.reason is reason
    with pytest.raises(JobError, match=message):
        bench.store.receive_sync(iter([content]), key="k", job=None, most=most)
    assert bench.is_empty()


async def test_a_wrong_type_is_refused_with_its_first_bytes(bench: Bench) -> None:
    taken = 0

    async def image() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"\x89PNG" * 1024

    with pytest.raises(JobError):
        await bench.store.receive(image(), key="k", most=10**12)
    assert taken == 1


async def test_an_upload_that_breaks_off_leaves_nothing(bench: Bench) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield WAV + bytes(6 * 2**20)
        assert len(bench.files()) == 1  # it is being written
        raise JobError(Reason.UPLOAD_INCOMPLETE, "gone")

    with pytest.raises(JobError, match="gone"):
        await bench.store.receive(broken(), key="k", most=10**9)
    assert bench.is_empty()


async def test_a_cancelled_upload_leaves_nothing(bench: Bench) -> None:
    waiting = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield WAV + bytes(6 * 2**20)
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(bench.store.receive(stuck(), key="k", most=10**9))
    await waiting.wait()
    assert set(bench.rows().values()) == {"receiving"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.is_empty()


async def test_memory_does_not_grow_with_the_file(bench: Bench) -> None:
    async def long() -> AsyncIterator[bytes]:
        yield WAV
        for _ in range(1000):
            yield bytes(64 * 1024)

    tracemalloc.start()
    try:
        await bench.store.receive(long(), key="k", most=10**9)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # of 65; the parts that are being written are in it


async def test_an_awaited_upload_can_be_filled_once(bench: Bench) -> None:
    name = bench.store.await_upload(key="k")
    with pytest.raises(JobError) as caught:
        await bench.store.receive(pieces(WAV), key="another", most=MOST, name=name)
    assert caught.value.reason is Reason.NOT_FOUND
    with pytest.raises(JobError) as caught:
        bench.store.find(name, key="k")
    assert caught.value.reason is Reason.NOT_FOUND
    with pytest.raises(JobError, match="not audio"):
        await bench.store.receive(pieces(b"no audio"), key="k", most=MOST, name=name)
    assert (await bench.store.receive(pieces(WAV), key="k", most=MOST, name=name)).name == name  # tried again
    with pytest.raises(JobError) as caught:
        await bench.store.receive(pieces(WAV), key="k", most=MOST, name=name)
    assert caught.value.reason is Reason.CONFLICT
    assert bench.rows() == {name: "stored"}
    with pytest.raises(JobError) as caught:
        await bench.store.receive(pieces(WAV), key="k", most=MOST, name=uuid.uuid4().hex)
    assert caught.value.reason is Reason.NOT_FOUND


async def test_what_nobody_claims_expires(bench: Bench) -> None:
    await bench.store.receive(pieces(WAV), key="k", most=MOST)
    late = bench.store.await_upload(key="k")
    kept = bench.store.receive_sync(iter([WAV]), key="k", job="j", most=MOST).name
    assert bench.store.collect(()) == 0
    with writing(bench.engine) as connection:
        connection.execute(objects.update().values(expires_at=sa.case((objects.c.name == kept, None), else_=1.0)))
    with pytest.raises(JobError) as caught:
        await bench.store.receive(pieces(WAV), key="k", most=MOST, name=late)
    assert caught.value.reason is Reason.NOT_FOUND
    assert bench.store.collect(()) == 2
    assert bench.rows() == {kept: "stored"}
    assert bench.files() == {kept}


async def test_what_is_deleted_while_it_comes_is_not_kept(bench: Bench) -> None:
    """By another process, which must not take the row away while there may yet be a file."""

    async def deleted() -> AsyncIterator[bytes]:
        yield WAV
        bench.other("someone").drop(list(bench.rows()))
        bench.other("someone").collect(["nobody"])
        assert list(bench.rows().values()) == ["garbage"]
        yield bytes(100)

    with pytest.raises(JobError) as caught:
        await bench.store.receive(deleted(), key="k", most=MOST)
    assert caught.value.reason is Reason.CONFLICT
    assert bench.is_empty()


@pytest.mark.parametrize("name", ["0" * 32, "", "../stream-server.db", "a/../../x", "0" * 31 + "\n", "x" * 32])
def test_what_is_not_there_cannot_be_opened(bench: Bench, name: str) -> None:
    with pytest.raises(JobError) as caught:
        bench.store.open(name)
    assert caught.value.reason is Reason.NOT_FOUND


async def test_a_folder_that_cannot_be_written(bench: Bench) -> None:
    bench.folder.rmdir()
    bench.folder.write_text("in the way")
    with pytest.raises(JobError) as caught:
        await bench.store.receive(pieces(WAV), key="k", most=MOST)
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    assert str(bench.folder) not in caught.value.message
    assert set(bench.rows().values()) <= {"garbage"}
    bench.folder.unlink()
    bench.folder.mkdir()
    bench.store.collect(())
    assert not bench.rows()


def fill(data_dir: Path, limit: int, ready: object) -> None:
    """In a process of its own: receive with no room on the disk, or for ever."""
    import resource

    settings = Settings.load({}, data_dir=data_dir)
    store = ObjectStore(settings, open_database(settings), "dead")
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def chunks() -> Iterator[bytes]:
        yield WAV
        for number in range(30 if limit else 10**6):
            if number == 20:
                ready.set()  # type: ignore[attr-defined]
            yield bytes(2**20)
            if not limit:
                time.sleep(0.001)

    try:
        store.receive_sync(chunks(), key="k", job="j", most=10**12)
    except JobError as error:
        os._exit(3 if error.reason is Reason.SERVICE_UNAVAILABLE else 4)
    os._exit(5)


def test_a_full_disk_is_told_and_leaves_nothing(bench: Bench) -> None:
    context = multiprocessing.get_context("spawn")
    unused = context.Event()
    process = context.Process(target=fill, args=(bench.settings.data_dir, 8 * 2**20, unused))
    process.start()
    process.join()
    assert process.exitcode == 3
    assert bench.is_empty()


def test_a_killed_process_leaves_what_can_be_collected(bench: Bench) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=fill, args=(bench.settings.data_dir, 0, ready))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join()
    assert set(bench.rows().values()) == {"receiving"}
    assert len(bench.files()) == 1
    assert bench.store.collect(["another"]) == 0
    assert bench.store.collect(["dead"]) == 1
    assert bench.is_empty()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_bucket(monkeypatch) as name:
        yield name


async def test_the_same_on_s3(bucket: str, tmp_path: Path) -> None:
    settings = Settings.load({}, data_dir=tmp_path, object_store=f"s3://{bucket}/some/prefix")
    engine = open_database(settings)
    s3 = ObjectStore(settings, engine, "me")
    behind = S3Store(bucket)
    content = WAV + bytes(12 * 2**20)
    stored = await s3.receive(pieces(content, 100_000), key="k", most=10**9)
    assert [entry["path"] for page in behind.list() for entry in page] == [f"some/prefix/{stored.name}"]
    with s3.open(stored.name) as file:
        file.seek(len(content) - 3)
        assert file.read() == bytes(3)
        assert probe(file).format == "wav"
    with pytest.raises(JobError) as caught:
        await s3.receive(pieces(content, 100_000), key="k", most=10**7)
    assert caught.value.reason is Reason.FILE_TOO_LARGE
    with pytest.raises(JobError) as caught:
        s3.open("0" * 32)
    assert caught.value.reason is Reason.NOT_FOUND
    s3.drop([stored.name])
    s3.drop([stored.name])
    assert [entry for page in behind.list() for entry in page] == []
    engine.dispose()
