"""The job system with a worker in this process, as the dialects see it; its model knows what it will hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from stream_server.audio.vad import VadSettings, load_vad
from stream_server.auth import ANYONE
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.moonshine.asset import find_recording
from stream_server.job_system import open_job_system
from stream_server.jobs.database import open_database
from stream_server.jobs.job import Job, JobState, Source, TranscriptionOptions
from stream_server.jobs.service import Transcriptions
from stream_server.jobs.table import objects
from stream_server.quota import Quota
from stream_server.settings import Settings
from stream_server.speakers.service import Speakers
from tests.support.fake import FakeRecognizer
from tests.support.speakers import FakeSpeakers

OPTIONS = TranscriptionOptions()


@dataclass
class Office:
    """The job system of a server, as its dialects see it."""

    transcriptions: Transcriptions
    database: sa.Engine
    folder: Path
    recognizer: FakeRecognizer

    async def upload(self, data: bytes | None = None) -> Source:
        content = find_recording("beckett.wav").read_bytes() if data is None else data

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 100_000):
                yield content[start : start + 100_000]

        stored = await self.transcriptions.objects.receive(chunks(), key="", most=10**9)
        return Source(object=stored.name, name="speech.wav")

    async def submit(self, source: Source, options: TranscriptionOptions = OPTIONS, **more: Any) -> Job:
        return await self.transcriptions.submit(ANYONE, source, options, surface="lesan", request_id="r", **more)

    async def answer(self, source: Source, options: TranscriptionOptions = OPTIONS, timeout: float = 60) -> Any:  # noqa: ASYNC109
        return await self.transcriptions.answer(
            ANYONE, source, options, surface="openai", request_id="r", timeout=timeout
        )

    async def until(self, job: Job, state: JobState) -> Job:
        while (job := await self.transcriptions.get(ANYONE, job.id)).state is not state:
            assert not job.is_finished, job
            await asyncio.sleep(0.02)
        return job

    def count(self, table: sa.Table) -> int:
        with self.database.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    async def until_nothing_is_left(self) -> None:
        while self.count(objects) or [path for path in self.folder.iterdir() if path.is_file()]:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def office(
    settings: Settings, recognizer: FakeRecognizer | None = None, speakers: Speakers | None = None
) -> AsyncIterator[Office]:
    database = open_database(settings)
    recognizer = recognizer or FakeRecognizer()
    engine = Engine(recognizer, EngineSettings(max_streams=16))
    engine.start()
    quota = Quota(database, retry_after=1.0)
    try:
        vad, speakers = load_vad("webrtc", VadSettings()), speakers or FakeSpeakers()
        async with open_job_system(settings, database, engine, quota, vad, speakers) as opened:
            yield Office(opened, database, settings.data_dir / "objects", recognizer)
    finally:
        engine.stop()
        database.dispose()
