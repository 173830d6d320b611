"""The shapes of Lesan's answers: a job as its clients see it, a batch with its files, a page of jobs, an error.

Pure functions from the values of the job system. It knows nothing of routes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field

from stream_protocol.transcript import Transcript
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.jobs.job import Failure, Job, JobState
from stream_server.jobs.result import JobResult
from stream_server.transport.callback import Callback
from stream_server.transport.dialect import json_answer, request_id_of

PREFIX: Final = "/v1/transcriptions"


class Segment(BaseModel):
    id: int
    start_ms: int
    end_ms: int
    duration_ms: int
    text: str
    speaker: str | None
    confidence: float | None


class Progress(BaseModel):
    """Of a batch, the segments are its files."""

    stage: str
    percent: int = Field(ge=0, le=100)
    total_segments: int | None
    """Null until the whole recording has been read."""
    done_segments: int


class Problem(BaseModel):
    code: Reason
    message: str


class FileEntry(BaseModel):
    """One file of a batch."""

    job_id: str
    url: Annotated[str, Field(description="The address that was submitted, or the name of the uploaded file.")]
    status: JobState
    text: Annotated[str | None, Field(description="Present once the file is completed.")] = None
    progress: Annotated[Progress | None, Field(description="Present while the file is processed.")] = None


class Metadata(BaseModel):
    """``language``: what was recognized. The rest is there for batches."""

    language: str | None = None
    batch_mode: bool | None = None
    total_count: int | None = None
    completed_count: int | None = None
    failed_count: int | None = None
    processing_count: int | None = None
    queued_count: int | None = None
    cancelled_count: Annotated[int | None, Field(description="Present where files were cancelled.")] = None
    deleted_count: Annotated[int | None, Field(description="Present where files were deleted.")] = None
    jobs: list[FileEntry] | None = None


class Transcription(BaseModel):
    """A job. What is not known yet, or does not apply, is null."""

    id: str
    object: Literal["transcription"] = "transcription"
    status: JobState
    language: str | None
    text: str | None
    segments: list[Segment] | None
    speakers: list[str] | None
    progress: Progress | None
    duration_seconds: float | None
    processing_time_seconds: float | None
    error: Problem | None
    metadata: Metadata | None
    created_at: str
    completed_at: str | None
    result_url: None = None
    audio_url: None = None
    audio_download_url: Annotated[None, Field(description="Present for batches.")] = None
    url: str
    callback: Annotated[Callback | None, Field(description="Present where a `callback_url` was given.")] = None


class TranscriptionPage(BaseModel):
    """Newest first. Text is there, segments are not: ask for the job."""

    object: Literal["list"] = "list"
    data: list[Transcription]
    has_more: bool
    next_cursor: str | None


class Deletion(BaseModel):
    id: str
    object: Literal["transcription"] = "transcription"
    deleted: Literal[True] = True


class ErrorBody(BaseModel):
    error: Problem
    request_id: str


def error_response(error: JobError, request: Request) -> Response:
    """An error in this dialect's shape."""
    body = ErrorBody(error=Problem(code=error.reason, message=error.message), request_id=request_id_of(request))
    return json_answer(body, STATUS[error.reason])


def transcription(job: Job, result: JobResult | None = None, *, segments: bool = True) -> Transcription:
    """A job, with its result if it has one; of a batch what its own row tells, as right after it was made."""
    transcript = None if result is None else result.transcript
    return Transcription(
        id=job.id,
        object="transcription",
        status=job.state,
        language=job.language or _named(job.options.language),
        text=None if transcript is None else transcript.text,
        segments=None if transcript is None or not segments else _segments(transcript),
        speakers=None if transcript is None else _speakers(transcript),
        progress=_progress(job),
        duration_seconds=None if job.duration_ms is None else job.duration_ms / 1000,
        processing_time_seconds=job.processing_sec if job.state is JobState.COMPLETED else None,
        error=None if job.failure is None else _problem(job.failure),
        metadata=None if transcript is None else Metadata(language=transcript.language),
        created_at=_moment(job.created_at),
        completed_at=None if job.completed_at is None else _moment(job.completed_at),
        result_url=None,
        audio_url=None,
        url=f"{PREFIX}/{job.id}",
    )


def new_batch(batch: Job) -> Transcription:
    """A batch that was just made."""
    return transcription(batch).model_copy(
        update={"metadata": Metadata(batch_mode=True, total_count=batch.files), "audio_download_url": None}
    )


def batch(job: Job, children: Sequence[Job], texts: dict[str, str]) -> Transcription:
    """A batch and its files; ``texts`` by the id of the file's job."""
    counts = Counter(child.state for child in children)
    deleted = job.files - len(children)
    percents = [100 if child.is_finished else child.progress.percent if child.progress else 0 for child in children]
    percents += [100] * deleted
    metadata = Metadata(
        batch_mode=True,
        total_count=job.files,
        completed_count=counts[JobState.COMPLETED],
        failed_count=counts[JobState.FAILED],
        processing_count=counts[JobState.PROCESSING],
        queued_count=counts[JobState.QUEUED],
        jobs=[_file(child, texts) for child in children],
    )
    if cancelled := counts[JobState.CANCELLED]:
        metadata.cancelled_count = cancelled
    if deleted:
        metadata.deleted_count = deleted
    progress = Progress(
        stage=job.state,
        percent=100 if job.is_finished else sum(percents) // job.files,
        total_segments=job.files,
        done_segments=deleted + sum(child.is_finished for child in children),
    )
    return transcription(job).model_copy(
        update={"metadata": metadata, "progress": progress, "audio_download_url": None}
    )


def _file(child: Job, texts: dict[str, str]) -> FileEntry:
    assert child.source is not None
    entry = FileEntry(job_id=child.id, url=child.source.url or child.source.name, status=child.state)
    if child.id in texts:
        entry.text = texts[child.id]
    if (progress := _progress(child)) is not None:
        entry.progress = progress
    return entry


def _progress(job: Job) -> Progress | None:
    if job.state is not JobState.PROCESSING or job.progress is None:
        return None
    told = job.progress
    return Progress(stage=told.stage, percent=told.percent, total_segments=None, done_segments=told.done_segments)


def _segments(transcript: Transcript) -> list[Segment]:
    return [
        Segment(
            id=number,
            start_ms=segment.start_ms,
            end_ms=segment.end_ms,
            duration_ms=segment.end_ms - segment.start_ms,
            text=segment.text,
            speaker=segment.speaker,
            confidence=segment.confidence,
        )
        for number, segment in enumerate(transcript.segments)
    ]


def _speakers(transcript: Transcript) -> list[str] | None:
    names = dict.fromkeys(segment.speaker for segment in transcript.segments if segment.speaker is not None)
    return list(names) or None


def _problem(failure: Failure) -> Problem:
    return Problem(code=failure.reason, message=failure.message)


def _named(language: str) -> str | None:
    return None if language == "auto" else language


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
