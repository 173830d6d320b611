"""What Shunyalabs has beside transcription: health, languages, and the speakers that a project knows.

Its ``/v1/audio/transcriptions`` is in `transport.openai`, its ``/ws`` is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from stream_protocol.errors import StreamError
from stream_server.jobs.database import DATABASE_AWAY
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.jobs.service import Transcriptions
from stream_server.speakers.embedder import SAME
from stream_server.speakers.turn import UNKNOWN
from stream_server.text.language import language_name
from stream_server.transport.answer import Sparse
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    json_answer,
    request_id_of,
    responses,
    transcriptions_of,
    while_connected,
)
from stream_server.transport.http import service_of
from stream_server.transport.intake import Upload, form_body, take_in
from stream_server.transport.name import ProjectName, SpeakerName
from stream_server.transport.script import script_of
from stream_server.transport.speaker import SpeakerDesk


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


Name = Annotated[SpeakerName, Field(description="What the speaker is called.")]
Project = Annotated[
    ProjectName,
    Field(description="Whose speakers are meant: each project knows its own, and so do those who name none."),
]


class ProjectForm(BaseModel):
    """Whose speakers are meant."""

    model_config = ConfigDict(extra="forbid")

    project: Project = ""


class SpeakerForm(ProjectForm):
    """A speaker by name."""

    name: Name


class Registered(BaseModel):
    """``message`` says so too, and how many samples there are where there are several."""

    success: Literal[True] = True
    speaker: str
    message: str


class Speaker(BaseModel):
    """``registered_at``: when the first sample came, in UTC."""

    name: str
    project: str
    registered_at: str


class Speakers(BaseModel):
    """``message``: what is the matter where some of them cannot be recognized; left out where nothing is."""

    speakers: list[Speaker]
    message: Sparse[str] = None


class Identified(BaseModel):
    """``confidence``: how sure it is, from 0 to 1, that the voice is that of the speaker who is most like it; under 0.5
    the speaker is ``unknown``."""

    speaker: str
    confidence: float


class Deleted(BaseModel):
    """It is done."""

    success: Literal[True] = True


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


_CONFLICT: Final = "Another voice is registered under the name, or there are too many samples or speakers."


@router.post(
    "/v1/speakers/register",
    summary="Register a speaker",
    response_description="The speaker is known now, or better known.",
    responses=responses(Detail, 413) | {409: {"model": Detail, "description": _CONFLICT}},
    openapi_extra=form_body(SpeakerForm),
)
async def register(request: Request, caller: TranscribeCaller) -> Registered:
    """Make a speaker known by a recording: two seconds of speech or more, of which the first two minutes are heard.

    A name that is known gets a further sample, if the voice is the same.
    """
    desk = _desk_of(request)
    desk.require_identification()
    async with take_in(request, SpeakerForm, caller=caller) as intake:
        form, audio = intake.values, _file_of(intake.uploads)
        message = await while_connected(request, desk.register(caller, form.name, form.project, audio))
        return Registered(speaker=form.name, message=message)


@router.get(
    "/v1/speakers/list",
    summary="List the speakers",
    response_description="The speakers of the project, the oldest first.",
    responses=responses(Detail),
)
async def list_speakers(
    request: Request, caller: TranscribeCaller, project: Annotated[Project, Query()] = ""
) -> Speakers:
    """The speakers of a project."""
    found, message = await _desk_of(request).all(caller, project)
    speakers = [Speaker(name=each.name, project=project, registered_at=_moment(each.registered_at)) for each in found]
    return Speakers(speakers=speakers, message=message)


@router.post(
    "/v1/speakers/identify",
    summary="Identify a speaker",
    response_description="Who it is, or `unknown`.",
    responses=responses(Detail, 413),
    openapi_extra=form_body(ProjectForm),
)
async def identify(request: Request, caller: TranscribeCaller) -> Identified:
    """Who speaks in a recording of one person: a second of speech or more, of which the first two minutes are heard."""
    desk = _desk_of(request)
    desk.require_identification()
    async with take_in(request, ProjectForm, caller=caller) as intake:
        work = desk.identify(caller, intake.values.project, _file_of(intake.uploads))
        speaker, confidence = await while_connected(request, work)
        shown = round(confidence, 2)
        if speaker == UNKNOWN:  # what is not enough for a name must not read as if it were
            shown = min(shown, SAME - 0.01)
        return Identified(speaker=speaker, confidence=shown)


@router.delete(
    "/v1/speakers/delete",
    summary="Delete a speaker",
    response_description="The speaker is forgotten.",
    responses=responses(Detail) | {404: {"model": Detail, "description": "There is no such speaker, or not yours."}},
    openapi_extra=form_body(SpeakerForm, files=()),
)
async def delete(request: Request, caller: TranscribeCaller) -> Deleted:
    """Forget a speaker, with all samples."""
    desk = _desk_of(request)
    async with take_in(request, SpeakerForm, caller=caller, files=()) as intake:
        await desk.delete(caller, intake.values.name, intake.values.project)
        return Deleted()


def _desk_of(request: Request) -> SpeakerDesk:
    """Raises: JobError: ``FEATURE_UNAVAILABLE``, where this server takes no recordings."""
    transcriptions_of(request)
    desk = service_of(request).speakers
    assert desk is not None
    return desk


async def _state_of_jobs(transcriptions: Transcriptions | None) -> str:
    if transcriptions is None:
        return "off"
    try:
        return "ready" if await transcriptions.has_worker() else "no worker"
    except DATABASE_AWAY:
        return "unavailable"


def _file_of(uploads: Sequence[Upload]) -> str:
    if not uploads:
        raise JobError(Reason.MISSING_PARAMETER, "file is missing", parameter="file")
    return uploads[0].object


def _moment(seconds: float) -> str:
    """ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
