"""A worker: takes jobs and callbacks from the queues, a few at a time, and looks after what others have left.

One to a process, as DBOS is. It runs beside the server or in it, or on another machine; all of them share the database.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig

from stream_server.audio.vad import VadModel
from stream_server.engine.engine import Engine
from stream_server.jobs.database import database_url, open_work, writing
from stream_server.jobs.ledger import JobLedger
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.queue import ANSWERS, CALLBACKS, DOWNLOADS, JOBS, NAME, TEXTS, VERSION, WorkQueue
from stream_server.jobs.run import JobRun, StoppingError
from stream_server.jobs.store import JobStore
from stream_server.jobs.sweep import Sweeper
from stream_server.jobs.webhook import Deliverer
from stream_server.log import log_context
from stream_server.settings import Settings
from stream_server.speakers.registry import SpeakerRegistry
from stream_server.speakers.service import Speakers
from stream_server.text.service import load_text_services
from stream_server.transcribe import FileTranscriber

logger = logging.getLogger(__name__)

POLL_SEC: Final = 0.1
"""How often the queues are looked at: what a caller who waits is kept waiting at least."""
DOWNLOADS_AT_ONCE: Final = 16
DOWNLOADS_OF_ONE: Final = 4
"""For one API key."""
TEXTS_AT_ONCE: Final = 8
CALLBACKS_AT_ONCE: Final = 8
FIRST_PAUSE_SEC: Final = 5.0
LONGEST_PAUSE_SEC: Final = 60.0
STOP_PATIENCE_SEC: Final = 10.0


_place = threading.Lock()
"""Held by the worker of this process: DBOS would let a second one end the first."""


def places(settings: Settings) -> dict[str, int]:
    """How much of each queue a worker does at the same time. Only the first two recognize speech."""
    return {
        JOBS: settings.max_jobs,
        ANSWERS: settings.max_jobs,
        DOWNLOADS: DOWNLOADS_AT_ONCE,
        TEXTS: TEXTS_AT_ONCE,
        CALLBACKS: CALLBACKS_AT_ONCE,
    }


class Worker:
    """Works from `start` to `stop`. ``process``: the id under which this process beats."""

    def __init__(
        self,
        settings: Settings,
        database: sa.Engine,
        queue: WorkQueue,
        engine: Engine,
        vad: VadModel,
        speakers: Speakers,
        *,
        process: str,
    ) -> None:
        self._settings = settings
        self._database = database
        self._queue = queue
        self._process = process
        self._work = open_work(settings)
        self._stopping = threading.Event()
        self._texts = load_text_services(settings)
        objects = ObjectStore(settings, database, process)
        self._run = JobRun(
            settings,
            JobLedger(database, queue, audio_retention=settings.audio_retention),
            objects,
            engine,
            FileTranscriber(engine, vad, settings.file_segmenter_for(engine.info)),
            speakers,
            SpeakerRegistry(database),
            self._texts,
            self._stopping,
        )
        self._deliverer = Deliverer(settings, database)
        store = JobStore(database, queue, most_unfinished=settings.max_queued_jobs)
        self._sweeper = Sweeper(settings, database, store, objects, queue, process=process)
        self._idle = threading.Condition()
        self._running = 0

    def start(self) -> None:
        """Begin to work.

        Raises:
            RuntimeError: there is a worker in this process already.
        """
        if not _place.acquire(blocking=False):
            raise RuntimeError("a process can have one worker of jobs, and this one has it: set job_worker")
        config: DBOSConfig = {
            "name": NAME,
            "system_database_url": database_url(self._settings).render_as_string(hide_password=False),
            "system_database_engine": self._work,
            "executor_id": self._process,
            "application_version": VERSION,
            "run_migrations": False,
            "use_listen_notify": False,
            "log_level": "WARNING",
            "max_executor_threads": sum(places(self._settings).values()) + 8,
        }
        DBOS(config=config)

        @DBOS.workflow(name=JOBS)
        def transcribe(job: str, queue: str) -> None:
            with log_context(job_id=job):
                self._insist(lambda: self._run.run(job, queue))

        @DBOS.workflow(name=CALLBACKS)
        def deliver(delivery: str, number: int) -> None:
            with log_context(delivery_id=delivery):
                self._insist(lambda: self._deliver(delivery, number))

        DBOS.launch()
        for name, most in places(self._settings).items():
            each = DOWNLOADS_OF_ONE if name == DOWNLOADS else None
            DBOS.register_queue(
                name,
                worker_concurrency=most,
                partition_worker_concurrency=each,
                polling_interval_sec=POLL_SEC,
                on_conflict="always_update",
            )
        self._sweeper.start()
        logger.info("working on jobs, %d at a time", self._settings.max_jobs)

    def stop(self) -> None:
        """Leave what is being worked on for others, and stop."""
        self._stopping.set()
        self._sweeper.stop()
        with self._idle:
            if not self._idle.wait_for(lambda: self._running == 0, STOP_PATIENCE_SEC):
                logger.warning("%d jobs do not stop; they are taken over by the next worker", self._running)
        DBOS.destroy(destroy_registry=True)
        if self._work is not None:
            self._work.dispose()
        self._texts.close()
        _place.release()

    def _insist(self, work: Callable[[], None]) -> None:
        """Do it until it is done: a workflow that raises is over for DBOS, and nobody would come back to it."""
        with self._idle:
            self._running += 1
        try:
            pause = FIRST_PAUSE_SEC
            while True:
                try:
                    work()
                except Exception as error:
                    logger.exception("the database, the object store or this program has failed; trying again")
                    if self._stopping.wait(pause):
                        raise StoppingError from error
                    pause = min(2 * pause, LONGEST_PAUSE_SEC)
                else:
                    return
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _deliver(self, delivery: str, number: int) -> None:
        again = self._deliverer.attempt(delivery, number)
        if again is not None:
            delay, attempt = again
            with writing(self._database) as connection:
                self._queue.enqueue_delivery(connection, delivery, attempt=attempt, delay=delay)
