"""Lesan's dialect: jobs and batches of jobs under ``/v1/transcriptions``, and what a recording tells beforehand.

It knows the parameters; the answers are made by `transport.lesan_shape`, signed uploads by `transport.upload`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Failure, Job, JobState, Source, TranscriptionOptions, Urgency
from stream_server.jobs.media import probe_media
from stream_server.jobs.service import MOST_FILES, Transcriptions
from stream_server.transport import lesan_shape
from stream_server.transport.callback import CALLBACK_HELP, callback_of
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    request_id_of,
    responses,
    transcriptions_of,
    while_connected,
)
from stream_server.transport.document import JobId, links
from stream_server.transport.intake import form_body, take_in
from stream_server.transport.lesan_shape import (
    PREFIX,
    Deletion,
    ErrorBody,
    Transcription,
    TranscriptionPage,
    error_response,
)
from stream_server.transport.lesan_source import addressed, fetchable, received
from stream_server.transport.upload import uploaded

SURFACE: Final = "lesan"

_RESULTS_AT_ONCE: Final = 8
"""Results may be long, and a page or a batch has up to a hundred."""

Address = Annotated[str, Field(min_length=1, max_length=4096)]


class _Wish(BaseModel):
    """What is wanted of a recording, or of each of several."""

    model_config = ConfigDict(extra="forbid")

    language: str = Field("auto", max_length=35, description="Language of the audio.")
    diarize: bool = Field(False, description="Tell speakers apart. Not in Lesan's document, which shows `speakers`.")
    num_speakers: int | None = Field(None, ge=1, le=100, description="How many speakers to expect; with `diarize`.")
    callback_url: str | None = Field(None, description=CALLBACK_HELP)

    def options(self) -> TranscriptionOptions:
        return TranscriptionOptions(language=self.language, diarize=self.diarize, num_speakers=self.num_speakers)


class Order(_Wish):
    """One recording: ``audio_url`` or the file ``file``."""

    audio_url: Address | None = Field(
        None, description="Address of the audio: `http://`, `https://`, `s3://`, or the `file_url` of a signed upload."
    )
    mode: Literal["sync", "async"] = Field(
        "async", description="`sync` waits for the transcript, but not for ever: then the job is still on its way."
    )


class BatchOrder(_Wish):
    """Several recordings: ``audio_urls`` or files called ``files``."""

    audio_urls: tuple[str, ...] = Field(
        (), max_length=MOST_FILES, description="Addresses, as for one recording; one that is refused fails alone."
    )


class Inquiry(BaseModel):
    """A recording that is asked about."""

    model_config = ConfigDict(extra="forbid")

    audio_url: Address = Field(description="As for a transcription.")


class Media(BaseModel):
    """What is known of a recording before it is transcribed; null where it does not say."""

    duration_seconds: float | None
    title: str | None
    thumbnail: str | None = Field(description="An address, or a picture as a data URL.")
    is_live: bool


router = dialect_router(error_response, tags=["Lesan"])


_FOLLOWING: Final = links("lesan_get", "lesan_cancel", "lesan_delete")


@router.post(
    PREFIX,
    summary="Transcribe a recording",
    response_model=Transcription,
    response_model_exclude_unset=True,
    response_description="The job is finished, as far as `mode=sync` waits.",
    responses=responses(ErrorBody, 404, 413)
    | {200: _FOLLOWING}
    | {202: {"model": Transcription, "description": "The job is on its way; ask for it at `url`."} | _FOLLOWING},
    openapi_extra=form_body(Order, json=True),
)
async def create(request: Request, response: Response, caller: TranscribeCaller) -> Any:
    """Transcribe a file, or what is at an address, as a job that can be asked for later."""
    transcriptions = transcriptions_of(request)
    async with take_in(request, Order, caller=caller) as intake:
        wanted = intake.values
        options = wanted.options()
        transcriptions.check(options)
        sources = [] if wanted.audio_url is None else [addressed(wanted.audio_url)]
        source = _one([*sources, *received(intake)])
        waits = wanted.mode == "sync"
        job = await transcriptions.submit(
            caller,
            source,
            options,
            surface=SURFACE,
            request_id=request_id_of(request),
            callback_url=wanted.callback_url,
            urgency=Urgency.WAITING if waits else Urgency.QUEUED,
        )
    if waits:
        job = await while_connected(request, transcriptions.wait(job, transcriptions.settings.sync_timeout))
    response.status_code = 200 if job.is_finished else 202
    return await _view(transcriptions, job)


@router.post(
    f"{PREFIX}/batch",
    summary="Transcribe several recordings",
    status_code=202,
    response_model=Transcription,
    response_model_exclude_unset=True,
    response_description="The batch is on its way; ask for it at `url`.",
    responses=responses(ErrorBody, 404, 413) | {202: _FOLLOWING},
    openapi_extra=form_body(BatchOrder, files=("files",), most=MOST_FILES, json=True),
)
async def create_batch(request: Request, caller: TranscribeCaller) -> Any:
    """Transcribe several recordings, each as a job of its own under one job for all of them.

    A file or an address that is refused is a job that has failed; the others go on.
    """
    transcriptions = transcriptions_of(request)
    async with take_in(request, BatchOrder, caller=caller, files=("files",), most=MOST_FILES, lenient=True) as intake:
        urls, files = intake.values.audio_urls, received(intake)
        options = intake.values.options()
        transcriptions.check(options)
        if urls and files:
            raise JobError(Reason.INVALID_PARAMETER, "give audio_urls or files, not both", parameter="audio_urls")
        if not urls and not files:
            raise JobError(Reason.MISSING_PARAMETER, "audio_urls or files are missing", parameter="audio_urls")
        refused = {refusal.position: refusal.error for refusal in intake.refused}
        if urls:
            files, refused = await fetchable(urls, transcriptions, caller)
        batch = await transcriptions.submit_batch(
            caller,
            files,
            options,
            surface=SURFACE,
            request_id=request_id_of(request),
            callback_url=intake.values.callback_url,
            refused={position: Failure(error.reason, error.message) for position, error in refused.items()},
        )
    return await _with_callback(transcriptions, batch, lesan_shape.new_batch(batch))


@router.get(
    PREFIX,
    summary="List jobs",
    response_model=TranscriptionPage,
    response_model_exclude_unset=True,
    response_description="Newest first.",
    responses=responses(ErrorBody),
)
async def list_jobs(
    request: Request,
    caller: TranscribeCaller,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs of one page.")] = 20,
    status_filter: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> Any:
    """The caller's jobs, those made by other endpoints too; files of batches are with their batch."""
    transcriptions = transcriptions_of(request)
    jobs, following = await transcriptions.page(caller, limit=limit, state=status_filter, cursor=cursor)
    data: list[Transcription] = []
    for group in _groups(jobs):
        results = await transcriptions.results([job for job in group if job.kind == "transcription"])
        for job in group:
            if job.kind == "batch":
                data.append(lesan_shape.batch(job, await transcriptions.children(job), {}))
            else:
                data.append(lesan_shape.transcription(job, results.get(job.id), segments=False))
    return TranscriptionPage(object="list", data=data, has_more=following is not None, next_cursor=following)


@router.get(
    f"{PREFIX}/{{job_id}}",
    summary="Read a job",
    response_model=Transcription,
    response_model_exclude_unset=True,
    response_description="The job as it stands.",
    responses=responses(ErrorBody, 404),
)
async def get(request: Request, caller: TranscribeCaller, job_id: JobId) -> Any:
    """A job as it stands, or a batch with its files."""
    transcriptions = transcriptions_of(request)
    return await _view(transcriptions, await transcriptions.get(caller, job_id))


@router.post(
    f"{PREFIX}/{{job_id}}/cancel",
    summary="Cancel a job",
    response_model=Transcription,
    response_model_exclude_unset=True,
    response_description="The job, which is cancelled.",
    responses=responses(ErrorBody, 404, 409),
)
async def cancel(request: Request, caller: TranscribeCaller, job_id: JobId) -> Any:
    """Stop a job that is queued or processed; of a batch, what is unfinished."""
    transcriptions = transcriptions_of(request)
    return await _view(transcriptions, await transcriptions.cancel(caller, job_id))


@router.delete(
    f"{PREFIX}/{{job_id}}",
    summary="Delete a job",
    response_description="It is gone.",
    responses=responses(ErrorBody, 404),
)
async def delete(request: Request, caller: TranscribeCaller, job_id: JobId) -> Deletion:
    """Remove a job and its result for good; one that is not finished is stopped."""
    await transcriptions_of(request).delete(caller, job_id)
    return Deletion(id=job_id)


@router.post(
    "/v1/media/probe",
    summary="Probe a recording",
    response_description="What it tells.",
    responses=responses(ErrorBody, 404, 413),
    openapi_extra=form_body(Inquiry, files=(), json=True),
)
async def probe(request: Request, caller: TranscribeCaller) -> Media:
    """What is known of a recording, without downloading it."""
    transcriptions = transcriptions_of(request)
    async with take_in(request, Inquiry, caller=caller, files=()) as intake:
        address = intake.values.audio_url
    upload = uploaded(address)
    source = Source(url=address) if upload is None else Source(object=upload[0], name=upload[1])
    found = await while_connected(
        request, probe_media(source, transcriptions.objects, transcriptions.settings, key=caller.id)
    )
    return Media(
        duration_seconds=found.duration_sec, title=found.title, thumbnail=found.thumbnail, is_live=found.is_live
    )


async def _view(transcriptions: Transcriptions, job: Job) -> Transcription:
    if job.kind == "transcription":
        results = await transcriptions.results([job]) if job.state is JobState.COMPLETED else {}
        view = lesan_shape.transcription(job, results.get(job.id))
    else:
        children = await transcriptions.children(job)
        texts: dict[str, str] = {}
        for group in _groups([child for child in children if child.state is JobState.COMPLETED]):
            results = await transcriptions.results(group)
            texts |= {child: result.transcript.text for child, result in results.items()}
        view = lesan_shape.batch(job, children, texts)
    return await _with_callback(transcriptions, job, view)


async def _with_callback(transcriptions: Transcriptions, job: Job, view: Transcription) -> Transcription:
    if (callback := await callback_of(transcriptions, job)) is not None:
        view.callback = callback
    return view


def _groups(jobs: Sequence[Job]) -> list[Sequence[Job]]:
    return [jobs[start : start + _RESULTS_AT_ONCE] for start in range(0, len(jobs), _RESULTS_AT_ONCE)]


def _one(sources: Sequence[Source]) -> Source:
    if not sources:
        raise JobError(Reason.MISSING_PARAMETER, "audio_url or a file is missing", parameter="audio_url")
    if len(sources) > 1:
        raise JobError(Reason.INVALID_PARAMETER, "give audio_url or a file, not both", parameter="audio_url")
    return sources[0]
