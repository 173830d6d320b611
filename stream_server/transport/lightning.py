"""Lightning's dialect: ``POST /v1/listen``, which waits for the transcript or has it sent to a callback.

It knows its parameters and the shape of its errors; the result itself is made by `stream_server.formats.lightning`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream_server.audio.type import COMMON
from stream_server.formats.lightning import WORDS, WORDS_AND_MARKS, lightning_result
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.jobs.job import Source, TranscriptionOptions
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    request_id_of,
    responses,
    retry_seconds,
    transcriptions_of,
    while_connected,
)
from stream_server.transport.http import service_of
from stream_server.transport.intake import Intake, form_body, take_in
from stream_server.transport.upload import source_at

SURFACE: Final = "lightning"

_FILE: Final = "audio"


class ListenRequest(BaseModel):
    """What the caller may ask for; the audio is ``url`` or the file ``audio``."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(
        None, description="Address of the audio: `http://`, `https://`, `s3://`, or the `file_url` of a signed upload."
    )
    language: str = Field("auto", description="ISO 639-1 code.", max_length=35)
    punctuate: bool | None = Field(
        None,
        description="Punctuation in the text; true if not given. Given as true together with `timestamps`, punctuation "
        "also stands among the words, as entries without length.",
    )
    diarize: bool = Field(False, description="Tell speakers apart.")
    num_speakers: int | None = Field(None, ge=1, le=100, description="How many speakers to expect; with `diarize`.")
    timestamps: bool = Field(False, description="Words with their times.")
    callback_url: str | None = Field(
        None, description="Where to send the result; the request itself is answered at once, with the id of the job."
    )

    @model_validator(mode="after")
    def _speakers_are_told_apart(self) -> ListenRequest:
        if self.num_speakers is not None and not self.diarize:
            raise ValueError("num_speakers needs diarize")
        return self

    @property
    def output(self) -> str:
        """How the result is to be rendered, also later, for a callback."""
        if not self.timestamps:
            return "json"
        return WORDS_AND_MARKS if self.punctuate else WORDS


class Word(BaseModel):
    """Times are seconds."""

    word: str
    start: float
    end: float
    confidence: float


class Turn(BaseModel):
    speaker: str
    text: str
    start: float
    end: float


class Transcription(BaseModel):
    request_id: str
    text: str
    confidence: float = Field(ge=0, le=1)
    duration: float = Field(description="Length of the audio in seconds.")
    language: str
    words: list[Word] | None = Field(None, description="With `timestamps`.")
    speakers: list[Turn] | None = Field(None, description="With `diarize`.")


class Acceptance(BaseModel):
    """The audio is being transcribed, and the result will be sent to ``callback_url``."""

    job_id: str
    status: Literal["processing"]


class Problem(BaseModel):
    """What is wrong, for people and for programs, and what would be right."""

    error: str
    code: Reason
    supported_formats: list[str] | None = Field(None, description="With `UNSUPPORTED_FORMAT`.")
    max_size_mb: int | None = Field(None, description="With `FILE_TOO_LARGE`.")
    retry_after: int | None = Field(None, description="Seconds; with `SERVICE_UNAVAILABLE` and `RATE_LIMITED`.")


def error_response(error: JobError, request: Request) -> Response:
    """An error in this dialect's shape, with the status its document names."""
    body: dict[str, Any] = {"error": error.message, "code": error.reason}
    status = STATUS[error.reason]
    match error.reason:
        case Reason.UNSUPPORTED_FORMAT:
            body["supported_formats"] = COMMON
        case Reason.FILE_TOO_LARGE:
            status = 422
            body["max_size_mb"] = service_of(request).settings.max_upload_bytes // 10**6
        case Reason.SERVICE_UNAVAILABLE | Reason.RATE_LIMITED:
            body["retry_after"] = retry_seconds(error)
    return JSONResponse(body, status)


router = dialect_router(error_response, tags=["Lightning"])


@router.post(
    "/v1/listen",
    summary="Transcribe, or have it called back",
    response_description="The transcript; with `callback_url` the id of the job.",
    response_model=Transcription | Acceptance,
    response_model_exclude_unset=True,
    responses=responses(Problem, 404, 409, 504),
    openapi_extra=form_body(ListenRequest, files=(_FILE,), json=True),
)
async def listen(request: Request, caller: TranscribeCaller) -> Any:
    """Transcribe a recording. With `callback_url` the answer comes at once, and the result is sent there."""
    transcriptions = transcriptions_of(request)
    request_id = request_id_of(request)
    async with take_in(request, ListenRequest, caller=caller, files=(_FILE,)) as intake:
        wanted = intake.values
        options = TranscriptionOptions(
            language=wanted.language,
            punctuate=wanted.punctuate is not False,
            diarize=wanted.diarize,
            num_speakers=wanted.num_speakers,
            output=wanted.output,
        )
        transcriptions.check(options)
        source = _source(intake)
        if wanted.callback_url is not None:
            job = await transcriptions.submit(
                caller, source, options, surface=SURFACE, request_id=request_id, callback_url=wanted.callback_url
            )
            return {"job_id": job.id, "status": "processing"}
        _, result = await while_connected(
            request,
            transcriptions.answer(
                caller,
                source,
                options,
                surface=SURFACE,
                request_id=request_id,
                timeout=transcriptions.settings.sync_timeout,
            ),
        )
    return lightning_result(
        result.transcript,
        timestamps=wanted.timestamps,
        split_punctuation=wanted.output == WORDS_AND_MARKS,
        request_id=request_id,
        diarized=wanted.diarize,
    )


def _source(intake: Intake[ListenRequest]) -> Source:
    url = intake.values.url
    if url is not None and intake.uploads:
        raise JobError(Reason.INVALID_PARAMETER, "Give either url or an audio file, not both", parameter="url")
    if url is not None:
        return source_at(url)
    if not intake.uploads:
        raise JobError(Reason.MISSING_PARAMETER, "Missing required parameter: url or audio file", parameter="url")
    return Source(object=intake.uploads[0].object, name=intake.uploads[0].name)
