"""The tables of one version of the program, opened by the next."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from stream_server.jobs.database import (
    DATABASE_NAME,
    POOL_SIZE,
    DatabaseError,
    has_database,
    open_database,
    writing,
)
from stream_server.jobs.job import Urgency
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.store import JobStore
from stream_server.jobs.table import SCHEMA_VERSION, jobs, schema, speaker_samples, speakers
from stream_server.jobs.worker import places
from stream_server.settings import Settings
from stream_server.speakers.registry import SpeakerRegistry
from tests.jobs.conftest import Desk
from tests.support.postgres import Postgres
from tests.support.tone import ToneEmbedder, voice


def test_batches_of_version_1_are_told_how_many_files_they_have(settings: Settings, desk: Desk) -> None:
    job, batch = desk.job(), desk.batch()
    desk.store.add([job], Urgency.QUEUED)
    desk.store.add([batch, *(desk.job(parent=batch.id) for _ in range(3))], Urgency.BATCH)
    with writing(desk.database) as connection:
        connection.execute(sa.text("ALTER TABLE jobs DROP COLUMN files"))
        _without_speakers(connection)
        connection.execute(schema.update().values(version=1))
    desk.database.dispose()
    for _ in range(2):  # the second time there is nothing to do
        opened = open_database(settings)
        queue = WorkQueue(opened)
        store = JobStore(opened, queue, most_unfinished=50)
        found = [store.get(batch.id), store.get(job.id)]
        assert [each and each.files for each in found] == [3, 0]
        with opened.connect() as connection:
            assert connection.scalar(sa.select(schema.c.version)) == SCHEMA_VERSION
        queue.close()
        opened.dispose()


def test_version_2_knows_speakers_from_then_on(settings: Settings, desk: Desk) -> None:
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    with writing(desk.database) as connection:
        _without_speakers(connection)
        connection.execute(schema.update().values(version=2))
    desk.database.dispose()
    for samples in (1, 2):  # the second time there is nothing to do, and nothing is lost
        opened = open_database(settings)
        registry, embedder = SpeakerRegistry(opened), ToneEmbedder()
        known = registry.add("k", "", "Priya", embedder.embed(voice(400, 2)), embedder, seconds=2.0)
        assert known.samples == {"tone": samples}
        with opened.connect() as connection:
            assert connection.scalar(sa.select(schema.c.version)) == SCHEMA_VERSION
            assert connection.scalar(sa.select(jobs.c.id)) == job.id
        opened.dispose()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_tables_of_an_unknown_version_are_left_alone(settings: Settings, desk: Desk, version: int) -> None:
    with writing(desk.database) as connection:
        connection.execute(schema.update().values(version=version))
    with pytest.raises(DatabaseError, match=f"has version {version} of our tables, and this program needs"):
        open_database(settings)


def _without_speakers(connection: sa.Connection) -> None:
    """As it was before version 3."""
    for table in (speaker_samples, speakers):
        table.drop(connection)


def test_every_place_of_a_worker_may_have_a_connection(settings: Settings) -> None:
    wanted = sum(places(settings).values())
    opened = open_database(settings, places=wanted)
    with ExitStack() as stack:
        for _ in range(POOL_SIZE + wanted):
            stack.enter_context(opened.connect())
    opened.dispose()


def test_only_who_is_told_to_makes_a_file(tmp_path: Path) -> None:
    settings = Settings.load({}, data_dir=tmp_path / "data")
    assert not has_database(settings)
    with pytest.raises(DatabaseError, match="there is no database at"):
        open_database(settings, create=False)
    assert not settings.data_dir.exists()
    open_database(settings).dispose()
    assert has_database(settings)
    open_database(settings, create=False).dispose()


def test_an_empty_file_is_not_filled_by_who_comes_later(tmp_path: Path) -> None:
    settings = Settings.load({}, data_dir=tmp_path)
    path = tmp_path / DATABASE_NAME
    path.touch()
    with pytest.raises(DatabaseError, match="none of our tables"):
        open_database(settings, create=False)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_a_server_of_postgres_needs_no_telling(postgres: Postgres) -> None:
    settings = Settings.load({}, database_url=postgres.new_database())
    assert has_database(settings)
    open_database(settings, create=False).dispose()
