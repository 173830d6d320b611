"""Answers on the OpenAI-like surface: the minimal JSON, the full one, and errors, each in the shapes of OpenAI and of
Shunyalabs at once.

It knows nothing of parameters. Times are seconds. Hours of speech with all their words take a second to write: so
results are rendered outside the event loop, where live callers would wait for it.
"""

from __future__ import annotations

import math
import zlib
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, Field

from stream_protocol.transcript import Segment, Word
from stream_server.formats import MEDIA_TYPES, render
from stream_server.jobs.error import STATUS, JobError
from stream_server.jobs.job import Job
from stream_server.jobs.result import JobResult
from stream_server.jobs.voice import wants_names
from stream_server.text.language import language_name
from stream_server.transport.dialect import json_answer, request_id_of
from stream_server.transport.diarized import DiarizedTranscription, diarized
from stream_server.transport.usage import Usage, usage_of

T = TypeVar("T")
Sparse = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A field that is left out where there is nothing to say, as OpenAI does."""


class Output(StrEnum):
    """How a result is rendered; what is stored in the options of a job."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    DIARIZED = "diarized_json"
    VERBOSE = "verbose_json"
    VERBOSE_WORDS = "verbose_json_words"


class MinimalTranscription(BaseModel):
    """The answer to ``response_format=json``."""

    text: str
    usage: Usage


class VerboseWord(BaseModel):
    """One word as written; ``score`` is the model's confidence from 0 to 1.

    ``speaker`` is there where speakers were told apart.
    """

    word: str
    start: float
    end: float
    score: float
    speaker: Sparse[str] = None


class VerboseSegment(BaseModel):
    """One stretch of speech. ``seek`` is its start in hundredths of a second; ``tokens`` stays empty.

    ``speaker``: null where speakers were not told apart.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float = 0.0
    speaker: str | None = None
    words: Sparse[list[VerboseWord]] = None


class Intent(BaseModel):
    label: str
    confidence: float
    reasoning: str


class Sentiment(BaseModel):
    """``score`` from -1 to 1."""

    label: str
    score: float
    explanation: str


class JobFault(BaseModel):
    """``code`` is one of the server's reasons."""

    code: str
    message: str


class NlpAnalysis(BaseModel):
    """What was found out about the text, as far as it was asked for; ``error``: why some of it is missing."""

    intent: Sparse[Intent] = None
    sentiment: Sparse[Sentiment] = None
    summary: Sparse[str] = None
    translation: Sparse[str] = None
    normalized_text: Sparse[str] = None
    error: Sparse[JobFault] = None


class DetectedLanguage(BaseModel):
    """``code`` is a BCP 47 tag."""

    code: str


class VerboseTranscription(BaseModel):
    """Everything that is known: what OpenAI calls verbose_json, and what Shunyalabs does. Absent is what is unknown.

    ``speakers``: in order of first speech; empty where they were not told apart.
    """

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    segments: list[VerboseSegment]
    words: Sparse[list[VerboseWord]] = None
    usage: Usage
    success: Literal[True] = True
    request_id: str
    detected_language: str
    languages: list[DetectedLanguage]
    speakers: list[str]
    audio_duration: float
    inference_time_ms: Sparse[float] = None
    nlp_analysis: Sparse[NlpAnalysis] = None


ErrorKind = Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]
_KINDS: Final[dict[int, ErrorKind]] = {401: "authentication_error", 429: "rate_limit_error"}


class ErrorDetail(BaseModel):
    """``code`` is one of the server's reasons, ``param`` the parameter at fault."""

    message: str
    type: ErrorKind
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error, as OpenAI's clients read it (``error``) and as Shunyalabs' do (``detail``)."""

    error: ErrorDetail
    detail: str
    request_id: str


def error_body(error: JobError, request: Request) -> ErrorBody:
    """The error as it stands in a response or in an event of a stream."""
    status = STATUS[error.reason]
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    detail = ErrorDetail(message=error.message, type=kind, param=error.parameter, code=error.reason)
    return ErrorBody(error=detail, detail=error.message, request_id=request_id_of(request))


def error_response(error: JobError, request: Request) -> Response:
    """An error in the shape of this surface."""
    return json_answer(error_body(error, request), STATUS[error.reason])


Body = VerboseTranscription | DiarizedTranscription | MinimalTranscription | str
"""What a result is told by: an object that is sent as JSON, or the text of a file."""


def result_body(job: Job, result: JobResult, output: Output) -> Body:
    """The result of a job."""
    match output:
        case Output.JSON:
            return MinimalTranscription(text=result.transcript.text, usage=usage_of(result.transcript))
        case Output.TEXT:
            return result.transcript.text + "\n"
        case Output.SRT | Output.VTT:
            return render(result.transcript, output)
        case Output.DIARIZED:
            return diarized(result.transcript, named=wants_names(job.options))
        case Output.VERBOSE | Output.VERBOSE_WORDS:
            return verbose(job, result, words=output is Output.VERBOSE_WORDS)


def result_response(job: Job, result: JobResult, output: Output) -> Response:
    """The result of a job as a response of its own."""
    body = result_body(job, result, output)
    if isinstance(body, str):
        return Response(body, media_type=MEDIA_TYPES["txt" if output is Output.TEXT else output])
    return json_answer(body)


def verbose(job: Job, result: JobResult, *, words: bool) -> VerboseTranscription:
    """The full answer; ``words``: with words and their times."""
    transcript = result.transcript
    seconds = transcript.duration_ms / 1000
    name = language_name(transcript.language)
    took = job.processing_sec
    segments = [verbose_segment(at, segment, words=words) for at, segment in enumerate(transcript.segments)]
    spoken = [segment.speaker for segment in transcript.segments if segment.speaker is not None]
    return VerboseTranscription(
        language=name.lower(),
        duration=seconds,
        text=transcript.text,
        segments=segments,
        words=[word for segment in segments for word in segment.words or ()] if words else None,
        usage=usage_of(transcript),
        request_id=job.request_id,
        detected_language=name,
        languages=[DetectedLanguage(code=transcript.language)] if transcript.language else [],
        speakers=list(dict.fromkeys(spoken)),
        audio_duration=seconds,
        inference_time_ms=round(took * 1000, 1) if took is not None else None,
        nlp_analysis=_analysis(job, result),
    )


def verbose_segment(number: int, segment: Segment, *, words: bool) -> VerboseSegment:
    """One segment; ``number`` counts from 0."""
    encoded = segment.text.encode()
    return VerboseSegment(
        id=number,
        seek=segment.start_ms // 10,
        start=segment.start_ms / 1000,
        end=segment.end_ms / 1000,
        text=segment.text,
        avg_logprob=math.log(max(segment.confidence, 1e-6)),
        compression_ratio=len(encoded) / len(zlib.compress(encoded)),
        speaker=segment.speaker,
        words=[_word(word) for word in segment.words] if words else None,
    )


def _analysis(job: Job, result: JobResult) -> NlpAnalysis | None:
    """What the text services said; None where nothing was asked of them."""
    if not (job.options.translate_to or job.options.analysis.is_wanted):
        return None
    translations = (result.translations.get(target) for target in job.options.translate_to[:1])
    findings = result.findings
    return NlpAnalysis(
        intent=Intent(**findings.intent) if findings.intent else None,
        sentiment=Sentiment(**findings.sentiment) if findings.sentiment else None,
        summary=findings.summary,
        translation=next((transcript.text for transcript in translations if transcript is not None), None),
        normalized_text=findings.normalized_text,
        error=fault(job),
    )


def fault(job: Job) -> JobFault | None:
    """Why a job has failed, or why something is missing from its result."""
    return None if job.failure is None else JobFault(code=job.failure.reason, message=job.failure.message)


def _word(word: Word) -> VerboseWord:
    return VerboseWord(
        word=word.word,
        start=word.start_ms / 1000,
        end=word.end_ms / 1000,
        score=word.confidence,
        speaker=word.speaker,
    )
