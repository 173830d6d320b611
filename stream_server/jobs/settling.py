"""How a job ends, inside a transaction: its callback, and the batch it belongs to."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from stream_server.jobs.error import Reason
from stream_server.jobs.job import Failure, Job, JobState
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.record import failure_to, from_row
from stream_server.jobs.result import JobResult
from stream_server.jobs.table import deliveries, jobs
from stream_server.jobs.webhook import callback_body


def add_delivery(connection: sa.Connection, queue: WorkQueue, job: Job, result: JobResult | None, now: float) -> None:
    """Have the caller told, where it asked for that. What it is told is fixed now."""
    if job.callback_url is None:
        return
    delivery = str(uuid.uuid4())
    connection.execute(
        deliveries.insert().values(
            id=delivery,
            job=job.id,
            api_key=job.key,
            url=job.callback_url,
            body=callback_body(job, result),
            state="pending",
            next_attempt_at=now,
            created_at=now,
        )
    )
    queue.enqueue_delivery(connection, delivery, attempt=0)


def begin_batch(connection: sa.Connection, batch: str, now: float) -> None:
    """The first file of a batch is begun."""
    connection.execute(
        jobs.update()
        .where(jobs.c.id == batch, jobs.c.state == JobState.QUEUED)
        .values(state=JobState.PROCESSING, started_at=now)
    )


def settle_batch(connection: sa.Connection, queue: WorkQueue, batch: str, now: float) -> None:
    """End a batch if all of its files have ended. One that failed does not fail it; all of them do.

    The row of the batch is locked first, behind those of files (always in this order, so that nobody waits in a
    circle): of two files that end at the same time, the second sees the first.
    """
    open_batch = sa.and_(jobs.c.id == batch, jobs.c.state.in_((JobState.QUEUED, JobState.PROCESSING)))
    if not connection.execute(jobs.update().where(open_batch).values(attempt=jobs.c.attempt)).rowcount:
        return
    counted = sa.select(jobs.c.state, sa.func.count()).where(jobs.c.parent == batch).group_by(jobs.c.state)
    counts = {JobState(state): count for state, count in connection.execute(counted).all()}
    if counts.keys() & {JobState.QUEUED, JobState.PROCESSING}:
        return
    failed = counts.get(JobState.FAILED, 0)
    state, failure = JobState.COMPLETED, None
    if failed and JobState.COMPLETED not in counts:
        state, failure = (
            JobState.FAILED,
            Failure(Reason.INTERNAL, f"none of the files could be transcribed; {failed} failed"),
        )
    elif counts.keys() == {JobState.CANCELLED}:
        state = JobState.CANCELLED
    connection.execute(
        jobs.update()
        .where(open_batch)
        .values(state=state, failure=failure_to(failure) if failure else None, completed_at=now)
    )
    job = from_row(connection.execute(sa.select(jobs).where(jobs.c.id == batch)).mappings().one())
    if state is not JobState.CANCELLED:
        add_delivery(connection, queue, job, None, now)
