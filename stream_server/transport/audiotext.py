"""``/v1/transcription-jobs``: audiotext's jobs. Made with the parameters of `transport.openai`, asked about later.

A job may have a ``callback_url``, which audiotext does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Job, JobState
from stream_server.jobs.result import JobResult
from stream_server.jobs.service import Transcriptions
from stream_server.transport.answer import (
    Body,
    ErrorBody,
    JobFault,
    Output,
    error_response,
    fault,
    result_body,
    result_response,
)
from stream_server.transport.callback import CALLBACK_HELP, Callback, callback_of
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    json_answer,
    request_id_of,
    responses,
    transcriptions_of,
)
from stream_server.transport.document import JobId, links
from stream_server.transport.intake import form_body, take_in
from stream_server.transport.openai import ANSWER
from stream_server.transport.parameter import TranscriptionForm, wanted_options
from stream_server.transport.reference import with_voices

SURFACE: Final = "audiotext"
PATH: Final = "/v1/transcription-jobs"

router = dialect_router(error_response, prefix=PATH, tags=["audiotext"])


class JobForm(TranscriptionForm):
    """The parameters of a job."""

    callback_url: str | None = Field(None, description=CALLBACK_HELP)


class JobProgress(BaseModel):
    """``percent`` from 0 to 100, ``message`` for people."""

    percent: int
    message: str


class TranscriptionJob(BaseModel):
    """A job. ``result`` is there when it is completed: an object, or text for ``response_format`` text, srt and vtt.

    ``error``: why it has failed, or why something is missing from the result. A batch has no result of its own: each of
    its files is a job that has one.
    """

    id: str
    object: Literal["transcription.job"] = "transcription.job"
    status: JobState
    progress: JobProgress
    model: str
    language: str | None
    response_format: str
    request_id: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    error: JobFault | None
    callback: Callback | None
    result: Body | None
    url: str


def _job(description: str) -> dict[str, Any]:
    return {"model": TranscriptionJob, "description": description}


_FOLLOWING: Final = links("audiotext_read", "audiotext_read_result", "audiotext_cancel")


@router.post(
    "",
    summary="Make a job",
    status_code=202,
    responses=responses(ErrorBody, 404, 413)
    | {202: _job("The job is taken in and will end, whatever happens.") | _FOLLOWING},
    openapi_extra=form_body(JobForm, json=True),
)
async def create(request: Request, caller: TranscribeCaller) -> Response:
    """Make a job of a file, or of what is at an address. The parameters are those of `/v1/audio/transcriptions`."""
    transcriptions = transcriptions_of(request)
    async with take_in(request, JobForm, caller=caller) as intake:
        form = intake.values
        if form.stream:
            raise JobError(Reason.INVALID_PARAMETER, "a job cannot be streamed; ask for its result", parameter="stream")
        source = form.source(intake.uploads)
        options = wanted_options(form, transcriptions)
        options = await with_voices(request, caller, options, form.known_speaker_names, form.known_speaker_references)
        job = await transcriptions.submit(
            caller,
            source,
            options,
            surface=SURFACE,
            request_id=request_id_of(request),
            callback_url=form.callback_url,
        )
    response = await _answer(transcriptions, job, 202)
    response.headers["Location"] = f"{PATH}/{job.id}"
    return response


@router.get(
    "/{job_id}", summary="Read a job", responses=responses(ErrorBody, 404) | {200: _job("The job as it stands.")}
)
async def read(request: Request, caller: TranscribeCaller, job_id: JobId) -> Response:
    """How far a job is; its result, once it is completed."""
    transcriptions = transcriptions_of(request)
    return await _answer(transcriptions, await transcriptions.get(caller, job_id))


@router.get("/{job_id}/result", summary="Read a result", responses=ANSWER | responses(ErrorBody, 404, 409, 413, 504))
async def read_result(request: Request, caller: TranscribeCaller, job_id: JobId) -> Response:
    """The result alone, in the `response_format` of the job; 409 while there is none, or why the job has failed."""
    job, result = await transcriptions_of(request).result(caller, job_id)
    return await asyncio.to_thread(result_response, job, result, _output(job))


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    responses=responses(ErrorBody, 404, 409) | {200: _job("The job, which is cancelled.")},
)
async def cancel(request: Request, caller: TranscribeCaller, job_id: JobId) -> Response:
    """Cancel a job that is not finished; 409 for one that is."""
    transcriptions = transcriptions_of(request)
    return await _answer(transcriptions, await transcriptions.cancel(caller, job_id))


async def _answer(transcriptions: Transcriptions, job: Job, status: int = 200) -> Response:
    result = (await transcriptions.results([job])).get(job.id) if job.state is JobState.COMPLETED else None
    callback = await callback_of(transcriptions, job)
    progress = _progress_of_batch(job, await transcriptions.children(job)) if job.kind == "batch" else _progress(job)

    def render() -> Response:
        return json_answer(_described(job, transcriptions.model.name, progress, result, callback), status)

    return await asyncio.to_thread(render)


def _described(
    job: Job, served: str, progress: JobProgress, result: JobResult | None, callback: Callback | None
) -> TranscriptionJob:
    options, output = job.options, _output(job)
    return TranscriptionJob(
        id=job.id,
        status=job.state,
        progress=progress,
        model=options.model or served,
        language=job.language or (options.language if options.language != "auto" else None),
        response_format="verbose_json" if output is Output.VERBOSE_WORDS else output,
        request_id=job.request_id,
        created_at=_moment(job.created_at),
        started_at=_moment(job.started_at) if job.started_at else None,
        completed_at=_moment(job.completed_at) if job.completed_at else None,
        error=fault(job),
        callback=callback,
        result=result_body(job, result, output) if result is not None else None,
        url=f"{PATH}/{job.id}",
    )


def _output(job: Job) -> Output:
    """Jobs that were made elsewhere may have formats of their own."""
    return Output(job.options.output) if job.surface == SURFACE else Output.VERBOSE


def _progress(job: Job) -> JobProgress:
    if job.progress is not None:
        return JobProgress(percent=job.progress.percent, message=job.progress.message)
    return JobProgress(percent=0, message="Waiting" if job.state is JobState.QUEUED else "")


def _progress_of_batch(batch: Job, files: Sequence[Job]) -> JobProgress:
    """A batch is as far as its files are; those that were deleted are done with, too."""
    percents = [100 if file.is_finished else file.progress.percent if file.progress else 0 for file in files]
    percents += [100] * (batch.files - len(files))
    done = batch.files - sum(not file.is_finished for file in files)
    return JobProgress(percent=sum(percents) // batch.files, message=f"{done} of {batch.files} files finished")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
