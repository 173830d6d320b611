"""The jobs as their callers see them: made, read, cancelled, deleted. The worker's side is in `ledger`.

Blocking; the event loop calls it in threads. It knows nothing of HTTP, audio or models.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from stream_protocol.transcript import Segment
from stream_server.jobs.database import writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import FINISHED, Delivery, Job, JobState, Progress, Urgency
from stream_server.jobs.process import has_worker
from stream_server.jobs.queue import ANSWERS, DOWNLOADS, JOBS, WorkQueue
from stream_server.jobs.record import from_row, progress_from, to_row
from stream_server.jobs.result import JobResult, decode_result, decode_segment
from stream_server.jobs.settling import settle_batch
from stream_server.jobs.table import deliveries, jobs, objects, results, segments
from stream_server.jobs.tally import JobFigures, Tally, add_tally, count_job, read_figures

_CLASS_SIZE: Final = 1_000_000
_PRIORITY: Final = {Urgency.WAITING: 0, Urgency.QUEUED: 0, Urgency.BATCH: _CLASS_SIZE}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job is."""

    state: JobState
    progress: Progress | None

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


class JobStore:
    """``most_unfinished``: jobs of one key that may wait or run."""

    def __init__(self, engine: sa.Engine, queue: WorkQueue, *, most_unfinished: int) -> None:
        self._engine = engine
        self._queue = queue
        self._most_unfinished = most_unfinished

    def add(self, made: Sequence[Job], urgency: Urgency, *, waiter: str | None = None) -> None:
        """Take in jobs of one caller, all or none: their rows, the work, and the objects that are theirs from now on.

        Of several jobs of one key each waits behind those before it, so that who has one job does not wait for all of
        another's thousand.

        Raises:
            JobError: ``RATE_LIMITED`` with too many unfinished jobs; ``NOT_FOUND`` where an object is not there, is not
                the caller's, or belongs to a job already.
        """
        key = made[0].key
        with writing(self._engine) as connection:
            unfinished = connection.scalar(
                sa.select(sa.func.count()).where(
                    jobs.c.api_key == key, jobs.c.state.in_((JobState.QUEUED, JobState.PROCESSING))
                )
            )
            assert unfinished is not None
            if unfinished + len(made) > self._most_unfinished:
                raise JobError(
                    Reason.RATE_LIMITED,
                    f"this caller has {unfinished} unfinished jobs, and may have {self._most_unfinished}",
                    retry_after=60.0,
                )
            connection.execute(jobs.insert(), [to_row(job, waiter=waiter) for job in made])
            for number, job in enumerate(made, unfinished + 1):
                if job.source is not None and not job.is_finished:
                    if job.source.object is not None:
                        _claim(connection, job.source.object, job)
                    priority = _PRIORITY[urgency] + min(number, _CLASS_SIZE - 1)
                    self._queue.enqueue(connection, job, queue_of(job, urgency), attempt=0, priority=priority)
            if made[0].kind == "batch":  # perhaps none of its files was any good
                settle_batch(connection, self._queue, made[0].id, made[0].created_at)
            for job in made:
                if job.is_finished:
                    count_job(connection, job)

    def get(self, job: str) -> Job | None:
        return next(iter(self._select(jobs.c.id == job)), None)

    def children(self, batch: str) -> list[Job]:
        return self._select(jobs.c.parent == batch, order=(jobs.c.position,))

    def page(
        self, key: str, *, limit: int, state: JobState | None, after: tuple[float, str] | None, surface: str | None
    ) -> list[Job]:
        """Jobs of a caller, newest first, without the files of batches; ``after``: time and id of the last one seen."""
        where = [jobs.c.api_key == key, jobs.c.parent.is_(None), jobs.c.waiter.is_(None)]
        if state is not None:
            where.append(jobs.c.state == state)
        if surface is not None:
            where.append(jobs.c.surface == surface)
        if after is not None:
            where.append(sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(*map(sa.literal, after)))
        return self._select(*where, order=(jobs.c.created_at.desc(), jobs.c.id.desc()), limit=limit)

    def standings(self, wanted: Collection[str]) -> dict[str, Standing]:
        """How far these jobs are; those that are gone are left out."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(jobs.c.id, jobs.c.state, jobs.c.progress).where(jobs.c.id.in_(wanted)))
            return {row.id: Standing(JobState(row.state), progress_from(row.progress)) for row in found}

    def has_worker(self) -> bool:
        """Whether anybody works on jobs."""
        return has_worker(self._engine)

    def figures(self) -> JobFigures:
        """How the jobs of all callers stand."""
        return read_figures(self._engine, time.time())

    def results(self, wanted: Collection[str]) -> dict[str, JobResult]:
        """The results of those of these jobs that are completed."""
        query = (
            sa.select(results.c.job, results.c.document)
            .join(jobs, jobs.c.id == results.c.job)
            .where(results.c.job.in_(wanted), jobs.c.state == JobState.COMPLETED)
        )
        with self._engine.connect() as connection:
            return {row.job: decode_result(row.document) for row in connection.execute(query)}

    def segments(self, job: str, start: int) -> list[Segment]:
        """Segments that were stored as they came, from the position ``start``."""
        query = (
            sa.select(segments.c.document)
            .where(segments.c.job == job, segments.c.position >= start)
            .order_by(segments.c.position)
        )
        with self._engine.connect() as connection:
            return [decode_segment(document) for document in connection.scalars(query)]

    def delivery(self, job: str) -> Delivery | None:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(deliveries).where(deliveries.c.job == job)).mappings().first()
        return None if row is None else Delivery(**{name: row[name] for name in Delivery.__slots__})

    def cancel(self, job: Job) -> list[str]:
        """Cancel a job, or what is unfinished of a batch. A worker notices when it next reports. The objects to drop.

        Raises:
            JobError: ``CONFLICT``, when it is finished.
        """
        now = time.time()
        unfinished = jobs.c.state.in_((JobState.QUEUED, JobState.PROCESSING))
        with writing(self._engine) as connection:
            end = jobs.update().where(unfinished).values(state=JobState.CANCELLED, completed_at=now)
            ended = connection.execute(end.where(jobs.c.parent == job.id)).rowcount
            if not connection.execute(end.where(jobs.c.id == job.id)).rowcount:
                state = connection.scalar(sa.select(jobs.c.state).where(jobs.c.id == job.id))
                raise JobError(Reason.CONFLICT, f"the job is {state or 'gone'} and cannot be cancelled")
            over = sa.select(jobs.c.id).where(sa.or_(jobs.c.id == job.id, jobs.c.parent == job.id))
            names = _waste(connection, objects.c.job.in_(over))
            if job.parent is not None:
                settle_batch(connection, self._queue, job.parent, now)
            ended += job.kind != "batch"
            add_tally(connection, Tally("job", job.surface, JobState.CANCELLED, ended))
        return names

    def delete(self, job: Job) -> list[str]:
        """Remove a job, its result, its callback and its files; for a batch, all of them. The objects to drop."""
        with writing(self._engine) as connection:
            # Rows of jobs are locked before those of their objects, and files before their batch, as everywhere.
            columns = sa.select(jobs.c.id, jobs.c.attempt, jobs.c.state, jobs.c.kind)
            files = columns.where(jobs.c.parent == job.id).order_by(jobs.c.id)
            found = [*connection.execute(files.with_for_update()).all()]
            found += connection.execute(columns.where(jobs.c.id == job.id).with_for_update()).all()
            names = _waste(connection, objects.c.job.in_([row.id for row in found]))
            connection.execute(deliveries.delete().where(deliveries.c.job.in_([row.id for row in found])))
            connection.execute(jobs.delete().where(jobs.c.parent == job.id))
            connection.execute(jobs.delete().where(jobs.c.id == job.id))
            if job.parent is not None:
                settle_batch(connection, self._queue, job.parent, time.time())
            unfinished = [row for row in found if row.kind != "batch" and row.state not in FINISHED]
            add_tally(connection, Tally("job", job.surface, "abandoned", len(unfinished)))
        for row in found:
            if row.state == JobState.QUEUED:  # what is running ends by itself
                self._queue.withdraw(row.id, row.attempt)
        return names

    def expired(self, before: float, limit: int) -> list[Job]:
        """Jobs that were finished before then, batches whole."""
        return self._select(jobs.c.completed_at < before, jobs.c.parent.is_(None), limit=limit)

    def abandoned(self, alive: Collection[str], before: float) -> list[Job]:
        """Jobs whose callers waited at a server that is no more, or that were done before then and never fetched."""
        forgotten = sa.or_(jobs.c.waiter.not_in(alive), jobs.c.completed_at < before)
        return self._select(jobs.c.waiter.is_not(None), forgotten)

    def revive(self, before: float) -> list[str]:
        """Put work into the queues for jobs and callbacks of before then that have none any more; their ids.

        There should be none: this is for what nobody has thought of.
        """
        unfinished = jobs.c.state.in_((JobState.QUEUED, JobState.PROCESSING))
        due = sa.select(deliveries.c.id, deliveries.c.attempts).where(
            deliveries.c.state == "pending", deliveries.c.created_at < before
        )
        lost = sa.select(jobs).where(unfinished, jobs.c.kind != "batch", jobs.c.created_at < before)
        with self._engine.connect() as connection:
            left = connection.execute(lost).mappings().all()
            calls = connection.execute(due).all()
        work = self._queue.unfinished()  # read after the rows: what has ended meanwhile is no harm
        revived = []
        with writing(self._engine) as connection:
            for row in left:
                job = from_row(row)
                if job.id not in work:
                    queue = queue_of(job, Urgency.QUEUED if row["waiter"] is None else Urgency.WAITING)
                    self._queue.enqueue(connection, job, queue, attempt=job.attempt, priority=1, anew=True)
                    revived.append(job.id)
            for call in calls:
                if call.id not in work:
                    self._queue.enqueue_delivery(connection, call.id, attempt=call.attempts, anew=True)
                    revived.append(call.id)
        return revived

    def _select(
        self, *where: sa.ColumnElement[bool], order: Sequence[sa.ColumnElement[Any]] = (), limit: int | None = None
    ) -> list[Job]:
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(jobs).where(*where).order_by(*order).limit(limit))
            return [from_row(row) for row in found.mappings()]


def queue_of(job: Job, urgency: Urgency) -> str:
    """The queue in which a job begins."""
    assert job.source is not None
    if job.source.url is not None:
        return DOWNLOADS
    return ANSWERS if urgency is Urgency.WAITING else JOBS


def _claim(connection: sa.Connection, name: str, job: Job) -> None:
    """Give a stored object to a job; each has one at most."""
    claim = (
        objects.update()
        .where(
            objects.c.name == name,
            objects.c.state == "stored",
            objects.c.job.is_(None),
            objects.c.api_key == job.key,
        )
        .values(job=job.id, expires_at=None)
    )
    if not connection.execute(claim).rowcount:
        raise JobError(Reason.NOT_FOUND, "there is no such upload: not finished yet, used before, or expired")


def _waste(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Objects that nobody needs any more: the worker that reads one now keeps it open, or fails and is too late."""
    names = list(connection.scalars(sa.select(objects.c.name).where(which)))
    connection.execute(objects.update().where(objects.c.name.in_(names)).values(state="garbage"))
    return names
