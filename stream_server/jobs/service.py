"""What the HTTP dialects speak to: jobs made, waited for, read and removed, each caller seeing only its own.

It knows the store and what the server can do; not HTTP, not the shape of any answer, not how a job is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from stream_protocol.transcript import Segment
from stream_server.auth import Caller
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.jobs.ability import check_options
from stream_server.jobs.cursor import read_cursor, write_cursor
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.fetch import check_address
from stream_server.jobs.job import (
    Delivery,
    Failure,
    Job,
    JobState,
    Progress,
    Source,
    TranscriptionOptions,
    Urgency,
    new_job,
    with_files,
)
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.result import JobResult
from stream_server.jobs.store import JobStore
from stream_server.jobs.tally import JobFigures
from stream_server.jobs.thread import undivided
from stream_server.jobs.watch import Watch
from stream_server.quota import Quota
from stream_server.settings import Settings
from stream_server.speakers.ability import speaker_abilities
from stream_server.text.ability import text_abilities

MOST_FILES = 100
"""In one batch."""


class Transcriptions:
    """The internal service behind every HTTP dialect.

    ``process``: the id of this server, under which jobs are kept whose callers wait here for the answer. ``speakers``:
    what can be found out about speakers, for dialects that leave it to the server whether they are told apart.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        objects: ObjectStore,
        quota: Quota,
        model: RecognizerInfo,
        *,
        process: str,
    ) -> None:
        self.settings = settings
        self.objects = objects
        self.model = model
        self._store = store
        self._quota = quota
        self._watch = Watch(store)
        self._process = process
        self.speakers = speaker_abilities(settings)
        self._texts = text_abilities(settings)

    def check(self, options: TranscriptionOptions) -> None:
        """Whether the server can do this; see `stream_server.jobs.ability.check_options`.

        Raises:
            JobError: it cannot.
        """
        check_options(options, self.model, self._texts, self.speakers)

    async def submit(
        self,
        caller: Caller,
        source: Source,
        options: TranscriptionOptions,
        *,
        surface: str,
        request_id: str,
        callback_url: str | None = None,
        urgency: Urgency = Urgency.QUEUED,
    ) -> Job:
        """Take in a job; when this returns it is on disk, and will end even if the server is killed now.

        Raises:
            JobError: it cannot be done, or the caller has too many.
        """
        job = new_job(caller.id, source, options, surface, request_id, callback_url)
        await self._add(caller, [job], urgency)
        return job

    async def submit_batch(
        self,
        caller: Caller,
        sources: Sequence[Source],
        options: TranscriptionOptions,
        *,
        surface: str,
        request_id: str,
        callback_url: str | None = None,
        refused: Mapping[int, Failure] | None = None,
    ) -> Job:
        """Take in a batch: one job for all of them, and one for each. ``refused``: files, by their place among the
        sources, that have failed already; the others go on.

        Raises:
            JobError: as `submit`; ``INVALID_PARAMETER`` for none or too many files.
        """
        if not 1 <= len(sources) <= MOST_FILES:
            raise JobError(
                Reason.INVALID_PARAMETER, f"a batch has 1 to {MOST_FILES} files; this one has {len(sources)}"
            )
        batch = new_job(caller.id, None, options, surface, request_id, callback_url)
        batch, children = with_files(batch, sources, refused or {})
        await self._add(caller, [batch, *children], Urgency.BATCH)
        return batch

    async def wait(self, job: Job, timeout: float) -> Job:  # noqa: ASYNC109 - what has become of it then is the answer
        """The job when it is finished, or as it stands after ``timeout`` seconds.

        Raises:
            JobError: ``NOT_FOUND``, when it has been deleted.
        """
        try:
            async with asyncio.timeout(timeout):
                known = None
                while True:
                    known = await self._watch.change(job.id, known)
                    if known is None or known.is_finished:
                        break
        except TimeoutError:
            pass
        return await self._get(job.id)

    async def follow(self, job: Job) -> AsyncIterator[Segment | Progress | Job]:
        """Segments and progress as they come, and at last the finished job. The job must keep its segments.

        A segment that was given stays given: when a worker begins the job anew, what was already told is not repeated.

        Raises:
            JobError: ``NOT_FOUND``, when it has been deleted.
        """
        known, told = None, 0
        while True:
            known = await self._watch.change(job.id, known)
            if known is None:
                raise _not_found()
            for segment in await asyncio.to_thread(self._store.segments, job.id, told):
                told += 1
                yield segment
            if known.is_finished:
                yield await self._get(job.id)
                return
            if known.progress is not None:
                yield known.progress

    async def answer(
        self,
        caller: Caller,
        source: Source,
        options: TranscriptionOptions,
        *,
        surface: str,
        request_id: str,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[Job, JobResult]:
        """Transcribe while the caller waits. Nothing is left behind, whatever happens.

        Raises:
            JobError: why it failed; ``TIMEOUT`` when it took longer than ``timeout`` seconds.
        """
        job = new_job(caller.id, source, options, surface, request_id, None)
        try:
            await self._add(caller, [job], Urgency.WAITING, waiter=self._process)
            job = await self.wait(job, timeout)
            if not job.is_finished:
                raise JobError(
                    Reason.TIMEOUT,
                    f"the transcript was not ready within {timeout:g} s; use a job for recordings of this length",
                )
            return job, await self._result(job)
        finally:
            await asyncio.shield(self.discard(job))

    async def open_answer(
        self, caller: Caller, source: Source, options: TranscriptionOptions, *, surface: str, request_id: str
    ) -> Job:
        """A job for a caller who reads along with `follow`; `discard` it at the end, whatever happens.

        Raises:
            JobError: as `submit`.
        """
        job = new_job(caller.id, source, options.model_copy(update={"keep_segments": True}), surface, request_id, None)
        await self._add(caller, [job], Urgency.WAITING, waiter=self._process)
        return job

    async def discard(self, job: Job) -> None:
        """Remove a job that was made for an answer; its worker stops where it is."""
        names = await undivided(self._store.delete, job)
        await asyncio.to_thread(self.objects.drop, names)

    async def get(self, caller: Caller, job_id: str) -> Job:
        """Raises: JobError: ``NOT_FOUND``, for another caller's job too."""
        # PostgreSQL refuses to look for a null character.
        job = None if "\0" in job_id else await asyncio.to_thread(self._store.get, job_id)
        if job is None or job.key != caller.id:
            raise _not_found()
        return job

    async def children(self, job: Job) -> list[Job]:
        """The files of a batch, in the order in which they were given."""
        return await asyncio.to_thread(self._store.children, job.id)

    async def results(self, jobs: Sequence[Job]) -> dict[str, JobResult]:
        """The results of those that are completed, by the id of the job."""
        return await asyncio.to_thread(self._store.results, [job.id for job in jobs])

    async def page(
        self, caller: Caller, *, limit: int, state: JobState | None, cursor: str | None, surface: str | None = None
    ) -> tuple[list[Job], str | None]:
        """Jobs of the caller, newest first, and the cursor of the next page if there is one.

        Raises:
            JobError: ``INVALID_PARAMETER``, for a cursor that is not ours.
        """
        after = None if cursor is None else read_cursor(cursor)
        found = await asyncio.to_thread(
            self._store.page, caller.id, limit=limit + 1, state=state, after=after, surface=surface
        )
        return found[:limit], write_cursor(found[limit - 1]) if len(found) > limit else None

    async def result(self, caller: Caller, job_id: str) -> tuple[Job, JobResult]:
        """Raises: JobError: ``NOT_FOUND``; ``CONFLICT`` while it is unfinished; why it failed, if it has."""
        job = await self.get(caller, job_id)
        return job, await self._result(job)

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """Raises: JobError: ``NOT_FOUND``; ``CONFLICT`` when it is finished."""
        job = await self.get(caller, job_id)
        names = await undivided(self._store.cancel, job)
        await asyncio.to_thread(self.objects.drop, names)
        return await self._get(job_id)

    async def delete(self, caller: Caller, job_id: str) -> None:
        """Remove a job with its audio and its result, in whatever state it is.

        Raises:
            JobError: ``NOT_FOUND``.
        """
        await self.discard(await self.get(caller, job_id))

    async def has_worker(self) -> bool:
        """Whether anybody works on jobs."""
        return await asyncio.to_thread(self._store.has_worker)

    async def figures(self) -> JobFigures:
        """How the jobs of all callers stand.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
        """
        return await asyncio.to_thread(self._store.figures)

    async def delivery(self, job: Job) -> Delivery | None:
        """How far the callback of the job is."""
        return await asyncio.to_thread(self._store.delivery, job.id)

    async def _add(self, caller: Caller, jobs: list[Job], urgency: Urgency, *, waiter: str | None = None) -> None:
        self.check(jobs[0].options)
        for job in jobs:
            if not job.is_finished and job.source is not None and job.source.url is not None:
                check_address(job.source.url, self.settings)
            if job.callback_url is not None:
                check_address(job.callback_url, self.settings, is_callback=True)
        await self._quota.check_hours(caller)
        await undivided(self._store.add, jobs, urgency, waiter=waiter)

    async def _get(self, job_id: str) -> Job:
        job = await asyncio.to_thread(self._store.get, job_id)
        if job is None:
            raise _not_found()
        return job

    async def _result(self, job: Job) -> JobResult:
        if job.failure is not None and job.state is JobState.FAILED:
            raise JobError(job.failure.reason, job.failure.message)
        if job.state is JobState.CANCELLED:
            raise JobError(Reason.CANCELLED, "the job was cancelled")
        if job.kind == "batch":
            raise JobError(Reason.CONFLICT, "a batch has no result of its own: its files have")
        found = await self.results([job])
        if job.id not in found:
            raise JobError(Reason.CONFLICT, f"the job is {job.state}; its result is not there yet")
        return found[job.id]


def _not_found() -> JobError:
    return JobError(Reason.NOT_FOUND, "there is no such job")
