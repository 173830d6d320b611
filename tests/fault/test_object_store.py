"""An object store that is slow, fails or hangs up, and a folder that cannot be written."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from stream_server.jobs import object as object_module
from stream_server.jobs.database import open_database
from stream_server.jobs.reader import ObjectFile
from stream_server.jobs.table import objects
from stream_server.settings import Settings
from tests.fault.conftest import PATIENCE, desk
from tests.protocol.sound import synthesize
from tests.support.bucket import running_bucket
from tests.support.caller import transcribe
from tests.support.relay import Mood, Relay, running_relay
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_module, "S3_PATIENCE", {"max_retries": 2, "retry_timeout": timedelta(seconds=2)})


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with running_bucket(monkeypatch) as name:
        port = urlsplit(os.environ["AWS_ENDPOINT_URL"]).port
        assert port is not None
        with running_relay(port) as relay:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{relay.port}")
            monkeypatch.setenv("THE_BUCKET", name)
            yield relay


def store() -> str:
    return f"s3://{os.environ['THE_BUCKET']}/recordings"


async def is_empty(folder: Path) -> bool:
    """No row of an object is left, sooner or later."""
    database = open_database(Settings.load({}, data_dir=folder))
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with database.connect() as connection:
                    if not connection.scalar(sa.select(sa.func.count()).select_from(objects)):
                        return True
                await asyncio.sleep(0.1)
    finally:
        database.dispose()


@pytest.mark.parametrize("mood", ["failing", "hanging up"])
async def test_a_store_that_fails(mood: Mood, relay: Relay, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with desk(tmp_path, object_store=store()) as at:
        await at.works()
        relay.mood = mood
        assert await at.is_refused(await at.submit())
        assert "the object store cannot be written" in caplog.text
        assert (await transcribe(at.server.ws_url, VOICE, INT16)).finals
        assert (await at.http.get("/readyz")).status_code == 200
        relay.mood = "well"
        await at.works()
        assert await is_empty(tmp_path)


async def test_a_store_that_is_slow_is_waited_for(relay: Relay, tmp_path: Path) -> None:
    async with desk(tmp_path, object_store=store()) as at:
        relay.mood = "slow"
        await asyncio.gather(*(at.works() for _ in range(4)), transcribe(at.server.ws_url, VOICE, INT16))
        assert relay.asked > 4
    assert await is_empty(tmp_path)


@pytest.mark.parametrize("mood", ["failing", "hanging up"])
async def test_a_recording_that_cannot_be_read_is_read_later(
    mood: Mood, relay: Relay, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_server.jobs.worker.FIRST_PAUSE_SEC", 0.2)
    async with desk(tmp_path, object_store=store()) as at:
        taking = asyncio.Event()
        opened = object_module.ObjectStore.open

        def open_late(self: object_module.ObjectStore, name: str) -> ObjectFile:
            if not taking.is_set():
                relay.mood = mood
            return opened(self, name)

        monkeypatch.setattr(object_module.ObjectStore, "open", open_late)
        job = (await at.submit()).json()["id"]
        async with asyncio.timeout(PATIENCE):
            while "trying again" not in caplog.text:
                await asyncio.sleep(0.05)
        assert (await at.get(job)).json()["status"] == "processing"
        taking.set()
        relay.mood = "well"
        assert (await at.until_done(job))["status"] == "completed"


async def test_a_folder_that_is_gone_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with desk(tmp_path) as at:
        await at.works()
        folder = tmp_path / "objects"
        folder.rmdir()
        folder.write_text("in the way")
        assert await at.is_refused(await at.submit())
        assert (await transcribe(at.server.ws_url, VOICE, INT16)).finals
        folder.unlink()
        folder.mkdir()
        await at.works()
