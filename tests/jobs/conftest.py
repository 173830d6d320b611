"""A store on either database: what is promised on one is promised on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from stream_protocol.transcript import Segment, Transcript, Word
from stream_server.jobs.job import Job, Source, TranscriptionOptions, new_job
from stream_server.jobs.ledger import JobLedger
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.store import JobStore
from stream_server.settings import Settings

TRANSCRIPT = Transcript(
    (
        Segment("It was the best of times.", 100, 1900, 0.9, (Word("It", 100, 300, 0.8), Word("was", 300, 500, 1.0))),
        Segment("It was the worst of times.", 2500, 4000, 0.7),
    ),
    "en",
    4500,
)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres").new_database() if request.param == "postgres" else ""
    return Settings.load({}, data_dir=tmp_path, database_url=url)


@dataclass(frozen=True)
class Desk:
    """The job system without audio or models: what callers and workers do to the store."""

    database: sa.Engine
    queue: WorkQueue
    store: JobStore
    ledger: JobLedger

    def job(self, key: str = "", *, parent: str | None = None, callback_url: str | None = None) -> Job:
        source = Source(url="http://example.com/a.wav")
        return new_job(key, source, TranscriptionOptions(), "lesan", "request", callback_url, parent=parent)

    def batch(self, key: str = "") -> Job:
        return new_job(key, None, TranscriptionOptions(), "lesan", "request")


@pytest.fixture
def desk(database: sa.Engine) -> Iterator[Desk]:
    queue = WorkQueue(database)
    store = JobStore(database, queue, most_unfinished=50)
    yield Desk(database, queue, store, JobLedger(database, queue, audio_retention=0.0))
    queue.close()
