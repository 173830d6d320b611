"""What Shunyalabs has beside transcription: health, languages, and the speakers that a project knows.

Its ``/v1/audio/transcriptions`` is in `transport.openai`, its ``/ws`` is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from stream_protocol.errors import StreamError
from stream_server.jobs.database import DATABASE_AWAY
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.jobs.service import Transcriptions
from stream_server.text.language import language_name
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    json_answer,
    request_id_of,
    responses,
    transcriptions_of,
)
from stream_server.transport.http import service_of
from stream_server.transport.intake import Upload, form_body, take_in
from stream_server.transport.script import script_of


class Detail(BaseModel):
    """An error."""

    detail: str
    request_id: str


def _shape(error: JobError, request: Request) -> Response:
    return json_answer(Detail(detail=error.message, request_id=request_id_of(request)), STATUS[error.reason])


router = dialect_router(_shape, tags=["Shunyalabs"])


class HealthReport(BaseModel):
    """``ok`` when recordings and live callers are served; ``services`` says what is the matter where they are not."""

    status: Literal["ok", "degraded"]
    services: dict[str, str]


class SpokenLanguage(BaseModel):
    """``code`` is a BCP 47 tag, ``script_code`` one of ISO 15924."""

    code: str
    name: str
    script: str | None
    script_code: str | None


class LanguageList(BaseModel):
    """What the loaded model speaks; ``scripts`` maps each code to the script that its text comes in."""

    languages: list[SpokenLanguage]
    scripts: dict[str, str]


Name = Annotated[str, Field(min_length=1, max_length=200, description="What the speaker is called.")]
Project = Annotated[str | None, Field(max_length=200, description="Whose speakers are meant.")]


class ProjectForm(BaseModel):
    """Whose speakers are meant."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    project: Project = None


class SpeakerForm(ProjectForm):
    """A speaker by name."""

    name: Name


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Health of the parts", response_description="How it is, whatever that is.")
async def health(request: Request) -> HealthReport:
    """Whether recordings and live callers are served. Needs no key."""
    service = service_of(request)
    engine = "ready"
    if service.engine.lost is not None:
        engine = "failed"
    elif not service.engine.is_alive:
        engine = "stopped"
    elif service.limit.is_draining:
        engine = "draining"
    try:
        auth = "open" if await service.keys.is_open() else "connected"
    except StreamError:
        auth = "unavailable"
    services = {"engine": engine, "jobs": await _state_of_jobs(service.transcriptions), "auth": auth}
    is_well = set(services.values()) <= {"ready", "off", "open", "connected"}
    return HealthReport(status="ok" if is_well else "degraded", services=services)


@router.get(
    "/languages",
    summary="List the languages",
    response_description="The languages of the model.",
    responses=responses(Detail),
)
async def languages(request: Request, _: TranscribeCaller) -> LanguageList:
    """What the loaded model speaks, with the scripts of its text."""
    spoken = []
    for code in service_of(request).engine.info.languages:
        script = script_of(code)
        name, script_code = (script.name, script.code) if script else (None, None)
        spoken.append(SpokenLanguage(code=code, name=language_name(code), script=name, script_code=script_code))
    return LanguageList(
        languages=spoken, scripts={language.code: language.script for language in spoken if language.script}
    )


# Speakers cannot be told apart yet: every request is read in full, and then answered that it cannot be done.
_SPEAKERS: Final[dict[str, Any]] = {
    "status_code": STATUS[Reason.FEATURE_UNAVAILABLE],
    "responses": responses(Detail, 413),
}


@router.post("/v1/speakers/register", summary="Register a speaker", openapi_extra=form_body(SpeakerForm), **_SPEAKERS)
async def register(request: Request, caller: TranscribeCaller) -> Response:
    """Make a speaker known by a recording. Not available in this version."""
    transcriptions_of(request)
    async with take_in(request, SpeakerForm, caller=caller) as intake:
        _require_file(intake.uploads)
        raise _no_speakers()


@router.get("/v1/speakers/list", summary="List the speakers", **_SPEAKERS)
async def list_speakers(_: TranscribeCaller, project: Annotated[Project, Query()] = None) -> Response:
    """The speakers of a project. Not available in this version."""
    raise _no_speakers()


@router.post("/v1/speakers/identify", summary="Identify a speaker", openapi_extra=form_body(ProjectForm), **_SPEAKERS)
async def identify(request: Request, caller: TranscribeCaller) -> Response:
    """Who speaks in a recording. Not available in this version."""
    transcriptions_of(request)
    async with take_in(request, ProjectForm, caller=caller) as intake:
        _require_file(intake.uploads)
        raise _no_speakers()


@router.delete(
    "/v1/speakers/delete", summary="Delete a speaker", openapi_extra=form_body(SpeakerForm, files=()), **_SPEAKERS
)
async def delete(request: Request, caller: TranscribeCaller) -> Response:
    """Forget a speaker. Not available in this version."""
    async with take_in(request, SpeakerForm, caller=caller, files=()):
        raise _no_speakers()


async def _state_of_jobs(transcriptions: Transcriptions | None) -> str:
    if transcriptions is None:
        return "off"
    try:
        return "ready" if await transcriptions.has_worker() else "no worker"
    except DATABASE_AWAY:
        return "unavailable"


def _require_file(uploads: Sequence[Upload]) -> None:
    if not uploads:
        raise JobError(Reason.MISSING_PARAMETER, "file is missing", parameter="file")


def _no_speakers() -> JobError:
    return JobError(
        Reason.FEATURE_UNAVAILABLE, "speakers are not available: this server has no model that tells speakers apart"
    )
