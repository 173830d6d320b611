"""LuxASR's dialect: the audio is the body, the parameters are in the query, and every request makes a job.

``/asr2`` transcribes, ``/translate`` also translates; jobs of one are unknown to the other's addresses.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stream_protocol.transcript import Transcript
from stream_server.auth import Caller
from stream_server.formats import MEDIA_TYPES, render
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.jobs.job import Job, JobState, Source, TranscriptionOptions
from stream_server.jobs.result import JobResult
from stream_server.text.language import language_name, normalize_language
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    request_id_of,
    responses,
    transcriptions_of,
)
from stream_server.transport.document import JobId, links
from stream_server.transport.intake import form_body, take_in

SURFACE: Final = "luxasr"

Format = Literal["colored_text", "text", "srt", "maxqda", "json", "textgrid", "textgrid_aligned"]
_FORMATS: Final = {"text": "txt"}
"""Where `stream_server.formats` has another name for one of these."""

StatusName = Literal["queued", "processing", "completed", "failed"]
_STATUSES: Final[dict[JobState, StatusName]] = {
    JobState.QUEUED: "queued",
    JobState.PROCESSING: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",  # by another dialect; this one has no word for it
}


class Asr(BaseModel):
    """The query of ``/asr2``."""

    model_config = ConfigDict(extra="forbid")

    language: str = Field("auto", max_length=35, description="Language of the audio.")
    diarization: Literal["Enabled", "Disabled"] | None = Field(
        None, description="Tell speakers apart. Not given: where the server can, except for `srt`."
    )
    outfmt: Format = Field("colored_text", description="How the result is written.")
    beam_size: int = Field(1, ge=1, le=100, description="1: decoding is greedy here.")
    min_silence_duration_ms: int | None = Field(None, ge=100, le=10_000, description="The pause that ends a segment.")
    maxlen: int | None = Field(None, ge=10, le=200, description="Characters to a line; for `srt` only.")

    def options(self, *, can_diarize: bool) -> TranscriptionOptions:
        """What is to be done. ``can_diarize``: whether the server can tell speakers apart; it is the default here.

        Raises:
            JobError: ``INVALID_PARAMETER``.
        """
        if self.maxlen is not None and self.outfmt != "srt":
            message = f"maxlen has no effect on outfmt={self.outfmt}; it is for outfmt=srt"
            raise JobError(Reason.INVALID_PARAMETER, message, parameter="maxlen")
        diarize = self.diarization == "Enabled"
        if self.diarization is None:
            diarize = can_diarize and self.outfmt != "srt"
        return TranscriptionOptions(
            language=self.language,
            min_silence_ms=self.min_silence_duration_ms,
            beam_size=self.beam_size,
            diarize=diarize,
            output=_FORMATS.get(self.outfmt, self.outfmt),
            max_line=self.maxlen,
        )


def _languages(value: str) -> str:
    if not any(code.strip() for code in value.split(",")):
        raise ValueError("names no language")
    return value


class Translation(Asr):
    """The query of ``/translate``."""

    target_langs: Annotated[
        str,
        Field(max_length=1000, description="Languages to translate to, separated by commas."),
        AfterValidator(_languages),
    ]

    def options(self, *, can_diarize: bool) -> TranscriptionOptions:
        codes = (code.strip() for code in self.target_langs.split(","))
        targets = dict.fromkeys(normalize_language(code, parameter="target_langs") for code in codes if code)
        return super().options(can_diarize=can_diarize).model_copy(update={"translate_to": tuple(targets)})


class Acceptance(BaseModel):
    job_id: str
    status: Literal["queued"] = "queued"


class Progress(BaseModel):
    percent: int = Field(ge=0, le=100)
    message: str


class Status(BaseModel):
    job_id: str
    status: StatusName
    progress: Progress | None = Field(description="While the job is worked on.")
    error: str | None = Field(description="Why it failed.")


class Problem(BaseModel):
    error: str
    code: Reason


def error_response(error: JobError, request: Request) -> Response:
    """An error in this dialect's shape."""
    return JSONResponse({"error": error.message, "code": error.reason}, STATUS[error.reason])


def _result_content() -> dict[str, Any]:
    """How results are documented: by media type, JSON as an object."""
    kinds = {media_type.partition(";")[0] for media_type in MEDIA_TYPES.values()}
    return {kind: {"schema": {"type": "object" if kind.endswith("json") else "string"}} for kind in sorted(kinds)}


router = dialect_router(error_response, tags=["LuxASR"])

_SUBMISSION: Final = responses(Problem, 413)
_QUESTION: Final = responses(Problem, 404)
_OUTCOME: Final = responses(Problem, 404, 409)


@router.post(
    "/asr2",
    summary="Submit a transcription",
    status_code=202,
    response_description="The job is queued.",
    responses=_SUBMISSION | {202: links("luxasr_asr_status", "luxasr_asr_result", job_id="job_id")},
    openapi_extra=form_body(Asr, files=(), raw=True),
)
async def submit_asr(request: Request, caller: TranscribeCaller) -> Acceptance:
    """Queue the transcription of the audio that is the body; its file name may be in `X-Filename`."""
    return await _submit(request, caller, Asr)


@router.post(
    "/translate",
    summary="Submit a translation",
    status_code=202,
    response_description="The job is queued.",
    responses=_SUBMISSION | {202: links("luxasr_translation_status", "luxasr_translation_result", job_id="job_id")},
    openapi_extra=form_body(Translation, files=(), raw=True),
)
async def submit_translation(request: Request, caller: TranscribeCaller) -> Acceptance:
    """Queue the transcription of the audio that is the body, and the translation of its text."""
    return await _submit(request, caller, Translation)


@router.get(
    "/v3/asr/jobs/{job_id}",
    name="asr_status",
    summary="Read the status of a transcription",
    response_description="The job as it stands.",
    responses=_QUESTION,
)
@router.get(
    "/v3/translate/jobs/{job_id}",
    name="translation_status",
    summary="Read the status of a translation",
    response_description="The job as it stands.",
    responses=_QUESTION,
)
async def status(request: Request, caller: TranscribeCaller, job_id: JobId) -> Status:
    """How far a job is."""
    return _status(await _job(request, caller, job_id))


@router.get(
    "/v3/asr/jobs/{job_id}/result",
    summary="Read a transcript",
    response_class=Response,
    response_description="The transcript, in the format of the job.",
    responses=_OUTCOME | {200: {"content": _result_content()}},
)
async def asr_result(request: Request, caller: TranscribeCaller, job_id: JobId) -> Response:
    """The transcript, in the format that was asked for when the job was made."""
    job, result = await _result(request, caller, job_id)
    text = await asyncio.to_thread(_rendered, job, result.transcript)
    return Response(text, media_type=MEDIA_TYPES[job.options.output])


@router.get(
    "/v3/translate/jobs/{job_id}/result",
    summary="Read translations",
    response_description="Texts by the names of their languages.",
    responses=_OUTCOME,
)
async def translation_result(request: Request, caller: TranscribeCaller, job_id: JobId) -> dict[str, str]:
    """By the English name of each language, the text in the format that was asked for when the job was made.

    Where a translation has failed: those that have not, and the transcript by the name of the language spoken.
    """
    job, result = await _result(request, caller, job_id)
    said = {} if job.failure is None else {result.transcript.language: result.transcript}
    return {
        language_name(code): await asyncio.to_thread(_rendered, job, transcript)
        for code, transcript in (said | result.translations).items()
    }


async def _submit(request: Request, caller: Caller, query: type[Asr]) -> Acceptance:
    transcriptions = transcriptions_of(request)
    async with take_in(request, query, caller=caller, files=(), raw=True) as intake:
        options = intake.values.options(can_diarize=transcriptions.speakers.no_diarization is None)
        transcriptions.check(options)
        if not intake.uploads:
            raise JobError(Reason.MISSING_PARAMETER, "the body is empty: send the audio as the body", parameter="body")
        upload = intake.uploads[0]
        job = await transcriptions.submit(
            caller,
            Source(object=upload.object, name=upload.name),
            options,
            surface=SURFACE,
            request_id=request_id_of(request),
        )
    return Acceptance(job_id=job.id)


async def _job(request: Request, caller: Caller, job_id: str) -> Job:
    job = await transcriptions_of(request).get(caller, job_id)
    kind = "translate" if job.options.translate_to else "asr"
    if job.surface != SURFACE or not request.scope["route"].path.startswith(f"/v3/{kind}/"):
        raise JobError(Reason.NOT_FOUND, "there is no such job")
    return job


async def _result(request: Request, caller: Caller, job_id: str) -> tuple[Job, JobResult]:
    await _job(request, caller, job_id)
    return await transcriptions_of(request).result(caller, job_id)


def _rendered(job: Job, transcript: Transcript) -> str:
    """The text in the job's format; in a thread, for the aligned formats of some hours take a while."""
    return render(transcript, job.options.output, max_line=job.options.max_line)


def _status(job: Job) -> Status:
    status = _STATUSES[job.state]
    progress = error = None
    if job.failure is not None:
        status, error = "failed", job.failure.message  # a translation that is missing is not completed
    elif job.state is JobState.CANCELLED:
        error = "the job was cancelled"
    if job.progress is not None and status == "processing":
        progress = Progress(percent=job.progress.percent, message=job.progress.message)
    return Status(job_id=job.id, status=status, progress=progress, error=error)
