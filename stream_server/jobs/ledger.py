"""The jobs as a worker sees them: begun, reported on, ended. Blocking.

Every beginning of a job has a number, its attempt, and a worker's word counts only as long as the job is being
processed under that number. So a worker that was taken for dead, or whose job was cancelled or deleted, can change
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from stream_protocol.transcript import Segment
from stream_server.jobs.database import writing
from stream_server.jobs.job import FINISHED, Failure, Job, JobState, Progress
from stream_server.jobs.queue import ANSWERS, JOBS, WorkQueue
from stream_server.jobs.record import failure_to, from_row, progress_to
from stream_server.jobs.result import JobResult, decode_result, encode_result, encode_segment
from stream_server.jobs.settling import add_delivery, begin_batch, settle_batch
from stream_server.jobs.table import jobs, objects, results, segments
from stream_server.jobs.tally import count_job
from stream_server.quota import record_usage

DONE: Final = Progress(100, "completed", "Completed")


class SupersededError(Exception):
    """The job is cancelled, deleted, or in other hands: stop working on it."""


class JobLedger:
    """``audio_retention``: seconds for which the audio of a job that has ended is kept."""

    def __init__(self, engine: sa.Engine, queue: WorkQueue, *, audio_retention: float) -> None:
        self._engine = engine
        self._queue = queue
        self._audio_retention = audio_retention

    def begin(self, job: str) -> Job | None:
        """Take the job in hand, from whoever had it; None when there is nothing to do."""
        now = time.time()
        with writing(self._engine) as connection:
            begun = (
                jobs.update()
                .where(jobs.c.id == job, jobs.c.state.not_in(FINISHED))
                .values(
                    state=JobState.PROCESSING,
                    attempt=jobs.c.attempt + 1,
                    started_at=sa.func.coalesce(jobs.c.started_at, now),
                )
            )
            if not connection.execute(begun).rowcount:
                return None
            found = from_row(connection.execute(sa.select(jobs).where(jobs.c.id == job)).mappings().one())
            connection.execute(segments.delete().where(segments.c.job == job))
            if found.parent is not None:
                begin_batch(connection, found.parent, now)
            return found

    def holds(self, job: Job) -> bool:
        """Whether the job is still being processed under this attempt, and not cancelled, deleted or in other hands."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(jobs.c.id).where(*_held(job))) is not None

    def report(self, job: Job, progress: Progress, new: Sequence[Segment] = (), start: int = 0) -> None:
        """How far the job is; ``new`` are segments for a caller who reads along, the first at position ``start``.

        Raises:
            SupersededError: stop.
        """
        with writing(self._engine) as connection:
            self._change(connection, job, progress=progress_to(progress))
            if new:
                rows = [
                    {"job": job.id, "position": position, "document": encode_segment(segment)}
                    for position, segment in enumerate(new, start)
                ]
                connection.execute(segments.insert(), rows)

    def fetched(self, job: str) -> str | None:
        """The object that holds the audio of the job, if it has one."""
        query = sa.select(objects.c.name).where(objects.c.job == job, objects.c.state == "stored")
        with self._engine.connect() as connection:
            return connection.scalar(query.order_by(objects.c.created_at.desc()).limit(1))

    def kept(self, job: str) -> JobResult | None:
        """The transcript that an earlier attempt has come to."""
        with self._engine.connect() as connection:
            document = connection.scalar(sa.select(results.c.document).where(results.c.job == job))
        return None if document is None else decode_result(document)

    def keep(self, job: Job, result: JobResult) -> None:
        """Keep the transcript, so that what follows can fail without it being made again.

        Raises:
            SupersededError: stop.
        """
        with writing(self._engine) as connection:
            self._change(
                connection, job, language=result.transcript.language, duration_ms=result.transcript.duration_ms
            )
            _put(connection, job, result)

    def complete(self, job: Job, result: JobResult, failure: Failure | None = None) -> list[str]:
        """The job is done: its result, its callback, its batch and what was used, at once. The objects to drop.

        Args:
            failure: why something that was to be made of the transcript is missing.

        Raises:
            SupersededError: somebody else has ended it.
        """
        now = time.time()
        with writing(self._engine) as connection:
            missing = None if failure is None else failure_to(failure)
            end = {"state": JobState.COMPLETED, "progress": progress_to(DONE), "completed_at": now}
            self._change(connection, job, failure=missing, **end)
            _put(connection, job, result)
            record_usage(connection, job.key, file_seconds=result.transcript.duration_ms / 1000)
            length = result.transcript.duration_ms
            ended = replace(job, state=JobState.COMPLETED, failure=failure, duration_ms=length, completed_at=now)
            return self._end(connection, ended, result)

    def fail(self, job: Job, failure: Failure) -> list[str]:
        """The job cannot be done. The objects to drop.

        Raises:
            SupersededError: somebody else has ended it.
        """
        now = time.time()
        with writing(self._engine) as connection:
            self._change(connection, job, state=JobState.FAILED, failure=failure_to(failure), completed_at=now)
            connection.execute(results.delete().where(results.c.job == job.id))
            ended = replace(job, state=JobState.FAILED, failure=failure, completed_at=now)
            return self._end(connection, ended, None)

    def pass_on(self, job: Job, queue: str | None) -> None:
        """This part of the job is done; the next is to be done out of another queue. None: where jobs are recognized.

        Raises:
            SupersededError: stop.
        """
        with writing(self._engine) as connection:
            self._change(connection, job)
            waiter = connection.scalar(sa.select(jobs.c.waiter).where(jobs.c.id == job.id))
            before = sa.select(sa.func.count()).where(
                jobs.c.api_key == job.key, jobs.c.state.not_in(FINISHED), jobs.c.created_at < job.created_at
            )
            place = connection.scalar(before) or 0  # as when the job was made: behind those of its owner
            queue = queue or (JOBS if waiter is None else ANSWERS)
            self._queue.enqueue(connection, job, queue, attempt=job.attempt, priority=place + 1)

    def _end(self, connection: sa.Connection, job: Job, result: JobResult | None) -> list[str]:
        assert job.completed_at is not None
        add_delivery(connection, self._queue, job, result, job.completed_at)
        if job.parent is not None:
            settle_batch(connection, self._queue, job.parent, job.completed_at)
        mine = objects.c.job == job.id
        names: list[str] = []
        if self._audio_retention > 0:
            expiry = job.completed_at + self._audio_retention
            connection.execute(objects.update().where(mine).values(expires_at=expiry))
        else:
            names = list(connection.scalars(sa.select(objects.c.name).where(mine)))
            connection.execute(objects.update().where(mine).values(state="garbage"))
        count_job(connection, job)
        return names

    @staticmethod
    def _change(connection: sa.Connection, job: Job, **values: object) -> None:
        if not connection.execute(jobs.update().where(*_held(job)).values(attempt=job.attempt, **values)).rowcount:
            raise SupersededError


def _held(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """The row of the job, as long as it is being processed under this attempt."""
    return jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.state == JobState.PROCESSING


def _put(connection: sa.Connection, job: Job, result: JobResult) -> None:
    document = encode_result(result)
    if not connection.execute(results.update().where(results.c.job == job.id).values(document=document)).rowcount:
        connection.execute(results.insert().values(job=job.id, document=document))
