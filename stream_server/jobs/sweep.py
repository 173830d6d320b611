"""Looks after what others have left: work of the dead, files nobody owns, what is past its time. In every worker."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import sqlalchemy as sa

from stream_server.jobs.database import writing
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.process import DEAD_SEC, living
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.store import JobStore
from stream_server.jobs.table import deliveries, keys, objects, speakers
from stream_server.settings import Settings

logger = logging.getLogger(__name__)

INTERVAL_SEC: Final = 3.0
ANSWER_SEC: Final = 60.0
"""An answer that nobody has taken for so long will not be taken."""
REVIVAL_SEC: Final = 60.0
_RETENTION_TURNS: Final = 20
"""Of so many rounds one also looks for what is past its time."""
_MOST: Final = 200


class Sweeper:
    """A thread; several workers may sweep at once, for everything it does can be done twice."""

    def __init__(
        self,
        settings: Settings,
        database: sa.Engine,
        store: JobStore,
        objects: ObjectStore,
        queue: WorkQueue,
        *,
        process: str,
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._objects = objects
        self._queue = queue
        self._process = process
        self._patient_until = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sweep, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def turn(self) -> None:
        """Take over what the dead have begun, and remove what they were receiving or answering."""
        owners = self._owners()  # before the living, so that who has just begun is not taken for dead
        alive = living(self._database, self._process)
        if alive is None:
            logger.warning("the heartbeat is late; nobody is taken for dead for a while")
            self._patient_until = time.monotonic() + DEAD_SEC
        if alive is None or time.monotonic() < self._patient_until:
            return
        if taken := self._queue.take_over(alive):
            logger.warning("taken over from a process that has gone: %s", ", ".join(taken))
        for job in self._store.abandoned(alive, time.time() - ANSWER_SEC):
            self._objects.drop(self._store.delete(job))
        self._objects.collect(owners - alive)

    def retire(self) -> None:
        """Remove jobs, results and callbacks that are past their time; and voices when the jobs of their API key are,
        for nobody can ask for them any more."""
        before = time.time() - self._settings.job_retention
        for job in self._store.expired(before, _MOST):
            self._objects.drop(self._store.delete(job))
        with writing(self._database) as connection:
            connection.execute(
                deliveries.delete().where(deliveries.c.created_at < before, deliveries.c.state != "pending")
            )
            revoked = sa.select(keys.c.id).where(keys.c.revoked_at < before)
            connection.execute(speakers.delete().where(speakers.c.api_key.in_(revoked)))
        self._queue.forget(before)
        if revived := self._store.revive(time.time() - REVIVAL_SEC):
            logger.error("there was no work for jobs or callbacks that are not done; put into the queue: %s", revived)

    def _owners(self) -> set[str]:
        with self._database.connect() as connection:
            return set(connection.scalars(sa.select(objects.c.owner).distinct().where(objects.c.owner != "")))

    def _sweep(self) -> None:
        turn = 0
        while True:
            try:
                self.turn()
                if turn % _RETENTION_TURNS == 0:
                    self.retire()
            except Exception:
                logger.exception("sweeping failed; it is tried again")
            turn += 1
            if self._stopping.wait(INTERVAL_SEC):
                return
