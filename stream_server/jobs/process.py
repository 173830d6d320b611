"""Who is alive: every server and worker beats into the table `processes`, and is dead when it stops.

Times are the database's, so that clocks of several machines need not agree.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from typing import Final

import sqlalchemy as sa

from stream_server.jobs.database import writing
from stream_server.jobs.table import processes

logger = logging.getLogger(__name__)

BEAT_SEC: Final = 3.0
DEAD_SEC: Final = 15.0
"""A process that has not beaten for so long is dead; work it had begun is taken over."""


def new_process_id() -> str:
    """An id for this process: no two ever have the same."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


class Heartbeat:
    """Beats from its construction until it is closed, in a thread of its own. ``works``: as a worker, too."""

    def __init__(self, engine: sa.Engine, process: str, *, works: bool) -> None:
        self.process = process
        self._engine = engine
        self._row = {"id": process, "host": _host(), "pid": os.getpid(), "works": works}
        self._stopping = threading.Event()
        with writing(engine) as connection:
            connection.execute(processes.insert().values(**self._row, seen_at=_now(engine)))
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say that this process is going, so that nobody waits for it to be missed."""
        self._stopping.set()
        self._thread.join()
        try:
            with writing(self._engine) as connection:
                connection.execute(processes.delete().where(processes.c.id == self.process))
        except sa.exc.SQLAlchemyError as error:
            logger.warning("cannot say goodbye to the database: %s", error)

    def _beat(self) -> None:
        while not self._stopping.wait(BEAT_SEC):
            try:
                with writing(self._engine) as connection:
                    beat = processes.update().where(processes.c.id == self.process).values(seen_at=_now(self._engine))
                    if not connection.execute(beat).rowcount:  # taken for dead, after a long pause
                        connection.execute(processes.insert().values(**self._row, seen_at=_now(self._engine)))
            except sa.exc.SQLAlchemyError as error:
                logger.warning("the database does not take the heartbeat: %s", error)


def living(engine: sa.Engine, observer: str) -> set[str] | None:
    """The ids of the processes that are alive; those that are not are removed. None when it cannot be told.

    A process of this machine that has ended is dead at once, and not only when it is missed. When the ``observer``'s
    own beat is late, so may be those of all others: the database was locked, or the machine slept.
    """
    age = (_now(engine) - processes.c.seen_at).label("age")
    with writing(engine) as connection:  # nobody beats meanwhile
        found = connection.execute(sa.select(processes.c.id, processes.c.host, processes.c.pid, age)).all()
        own = next((row.age for row in found if row.id == observer), None)
        if own is None or own > DEAD_SEC / 2:
            return None
        gone = [row.id for row in found if row.host == _host() and not _runs(row.pid)]
        missed = [row.id for row in found if row.age > DEAD_SEC and row.id not in gone]
        is_late = _now(engine) - processes.c.seen_at > DEAD_SEC  # asked again: it may beat just now
        connection.execute(processes.delete().where(processes.c.id.in_(gone)))
        connection.execute(processes.delete().where(processes.c.id.in_(missed), is_late))
    return {row.id for row in found} - {*gone, *missed}


def count_workers(engine: sa.Engine) -> int:
    """How many take jobs from the queues."""
    is_late = _now(engine) - processes.c.seen_at > DEAD_SEC
    counted = sa.select(sa.func.count()).where(processes.c.works, ~is_late)
    with engine.connect() as connection:
        return connection.scalar(counted) or 0


def has_worker(engine: sa.Engine) -> bool:
    """Whether anybody takes jobs from the queues."""
    return count_workers(engine) > 0


def _now(engine: sa.Engine) -> sa.ColumnElement[float]:
    """The database's clock, in seconds since the epoch."""
    if engine.dialect.name == "sqlite":
        return (sa.func.julianday("now") - 2440587.5) * 86_400.0
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))


def _host() -> str:
    """This machine as far as process ids go: containers of one name have their own."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
