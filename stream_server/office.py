"""Opens and closes the job system of a server: its store, and the worker in this process or beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import sqlalchemy as sa

from stream_server.audio.vad import VadModel
from stream_server.engine.engine import Engine
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.process import Heartbeat, new_process_id
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.service import Transcriptions
from stream_server.jobs.store import JobStore
from stream_server.jobs.worker import Worker
from stream_server.quota import Quota
from stream_server.settings import Settings
from stream_server.worker import WorkerProcess


class JobOffice:
    """``vad``: the detector of a worker in this process, which shares ``engine``; None for no such worker."""

    def __init__(
        self, settings: Settings, database: sa.Engine, engine: Engine, quota: Quota, vad: VadModel | None
    ) -> None:
        self._settings = settings
        self._database = database
        self._engine = engine
        self._quota = quota
        self._vad = vad

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Transcriptions]:
        """Take jobs while this lasts."""
        process = new_process_id()
        async with AsyncExitStack() as stack:
            heart = await asyncio.to_thread(Heartbeat, self._database, process)
            stack.push_async_callback(asyncio.to_thread, heart.close)
            queue = await asyncio.to_thread(WorkQueue, self._database)
            stack.push_async_callback(asyncio.to_thread, queue.close)
            store = JobStore(self._database, queue, most_unfinished=self._settings.max_queued_jobs)
            objects = ObjectStore(self._settings, self._database, process)
            if self._vad is not None:
                worker = Worker(self._settings, self._database, queue, self._engine, self._vad, process=process)
                await asyncio.to_thread(worker.start)
                stack.push_async_callback(asyncio.to_thread, worker.stop)
            elif self._settings.job_worker in ("auto", "process"):
                stack.push_async_callback(WorkerProcess(self._settings).stop)
            yield Transcriptions(self._settings, store, objects, self._quota, self._engine.info, process=process)
