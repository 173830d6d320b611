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
from stream_server.speakers.service import Speakers
from stream_server.worker_process import WorkerProcess


@asynccontextmanager
async def open_job_system(
    settings: Settings, database: sa.Engine, engine: Engine, quota: Quota, vad: VadModel | None, speakers: Speakers
) -> AsyncIterator[Transcriptions]:
    """Take jobs while this lasts.

    ``vad``: the detector of a worker in this process, which shares ``engine`` and ``speakers``; None where there is no
    such worker.
    """
    process = new_process_id()
    async with AsyncExitStack() as stack:
        heart = await asyncio.to_thread(Heartbeat, database, process, works=vad is not None)
        stack.push_async_callback(asyncio.to_thread, heart.close)
        queue = await asyncio.to_thread(WorkQueue, database)
        stack.push_async_callback(asyncio.to_thread, queue.close)
        if vad is not None:
            worker = Worker(settings, database, queue, engine, vad, speakers, process=process)
            await asyncio.to_thread(worker.start)
            stack.push_async_callback(asyncio.to_thread, worker.stop)
        elif settings.job_worker in ("auto", "process"):
            stack.push_async_callback(WorkerProcess(settings).stop)
        store = JobStore(database, queue, most_unfinished=settings.max_queued_jobs)
        objects = ObjectStore(settings, database, process)
        yield Transcriptions(settings, store, objects, quota, engine.info, process=process)
