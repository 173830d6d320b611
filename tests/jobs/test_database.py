"""The tables of one version of the program, opened by the next."""

from __future__ import annotations

import sqlalchemy as sa

from stream_server.jobs.database import open_database, writing
from stream_server.jobs.job import Urgency
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.store import JobStore
from stream_server.jobs.table import SCHEMA_VERSION, schema
from stream_server.settings import Settings
from tests.jobs.conftest import Desk


def test_batches_of_version_1_are_told_how_many_files_they_have(settings: Settings, desk: Desk) -> None:
    job, batch = desk.job(), desk.batch()
    desk.store.add([job], Urgency.QUEUED)
    desk.store.add([batch, *(desk.job(parent=batch.id) for _ in range(3))], Urgency.BATCH)
    with writing(desk.database) as connection:
        connection.execute(sa.text("ALTER TABLE jobs DROP COLUMN files"))
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
