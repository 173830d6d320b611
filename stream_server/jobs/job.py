"""The values of the job system: what is asked for, how far it is, how it ended. No I/O."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stream_server.jobs.error import Reason


class JobState(StrEnum):
    """QUEUED -> PROCESSING -> COMPLETED | FAILED; CANCELLED from either of the first two. The last three are final."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})


class Urgency(StrEnum):
    """Who waits for a job. All of them come behind live callers."""

    WAITING = "waiting"
    """A caller holds a connection open for the answer."""
    QUEUED = "queued"
    BATCH = "batch"


class Source(BaseModel):
    """Where the audio comes from: an object that was uploaded, or an address to fetch (``http(s)://``, ``s3://``).

    ``object`` is the name of a stored object; ``name`` is what the caller called the file, for display only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    object: str | None = None
    url: str | None = None
    name: str = ""


class Analysis(BaseModel):
    """What a language model is to say about the text; all false asks for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: bool = False
    summary_max_length: int = Field(default=150, ge=1, le=10_000)
    """Words."""
    sentiment: bool = False
    intent: bool = False
    intent_choices: tuple[str, ...] = ()
    normalize: bool = False
    """Text with names and terms written in one way, preferring ``keyterms``."""
    keyterms: tuple[str, ...] = ()

    @property
    def is_wanted(self) -> bool:
        return self.summary or self.sentiment or self.intent or self.normalize


class KnownVoice(BaseModel):
    """Somebody whom the caller has named by a sample of the voice, for one job only.

    ``vector``: what the model ``embedder`` has made of the sample, as little-endian float32 in base64. It is kept as
    long as the job; the sample is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    embedder: str
    vector: str


class TranscriptionOptions(BaseModel):
    """How a recording is to be transcribed and what is made of the text. The same for every dialect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    """The model asked for; empty for the one that is served. Any other name is refused by `service.check`."""
    language: str = "auto"
    min_silence_ms: int | None = Field(default=None, ge=100, le=10_000)
    """The pause that ends a segment."""
    beam_size: int = Field(default=1, ge=1, le=100)
    keyterms: tuple[str, ...] = ()
    diarize: bool = False
    num_speakers: int | None = Field(default=None, ge=1, le=100)
    identify_speakers: bool = False
    project: str = ""
    known_voices: tuple[KnownVoice, ...] = ()
    """Who else is called by name, before those of the project."""
    punctuate: bool = True
    mask: tuple[str, ...] | None = None
    """Words to replace by asterisks; None for none, empty for the server's own list."""
    translate_to: tuple[str, ...] = ()
    """Language codes."""
    analysis: Analysis = Analysis()
    output: str = "json"
    """How the result is rendered where the dialect fixes that when the job is made."""
    max_line: int | None = Field(default=None, ge=10, le=200)
    """Characters to a line of subtitles."""
    keep_segments: bool = False
    """Store segments as they are ready, for a caller who reads along."""


@dataclass(frozen=True, slots=True)
class Progress:
    """``percent`` is 0 to 100; ``stage`` one word, ``message`` a sentence for people."""

    percent: int
    stage: str
    message: str
    done_segments: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands in the store. Times are seconds since the epoch.

    A batch has children and neither source nor result of its own; ``files`` is how many it was given. ``key`` is the id
    of the API key that owns the job (see `stream_server.auth.Caller`); ``attempt`` counts how often a worker has begun
    it. ``failure``: why it failed, or why something that was to be made of its transcript is missing, where it is
    completed all the same.
    """

    id: str
    kind: Literal["transcription", "batch"]
    state: JobState
    key: str
    surface: str
    request_id: str
    options: TranscriptionOptions
    source: Source | None
    parent: str | None = None
    position: int = 0
    files: int = 0
    callback_url: str | None = None
    progress: Progress | None = None
    failure: Failure | None = None
    language: str | None = None
    duration_ms: int | None = None
    attempt: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def processing_sec(self) -> float | None:
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at


def new_job(
    key: str,
    source: Source | None,
    options: TranscriptionOptions,
    surface: str,
    request_id: str,
    callback_url: str | None = None,
    *,
    parent: str | None = None,
    position: int = 0,
) -> Job:
    """A job as it begins, with an id of its own; without a source it is a batch."""
    return Job(
        id=str(uuid.uuid4()),
        kind="transcription" if source is not None else "batch",
        state=JobState.QUEUED,
        key=key,
        surface=surface,
        request_id=request_id,
        options=options,
        source=source,
        parent=parent,
        position=position,
        callback_url=callback_url,
        created_at=time.time(),
    )


def with_files(batch: Job, sources: Sequence[Source], refused: Mapping[int, Failure]) -> tuple[Job, list[Job]]:
    """The batch, and a job for each of its files; ``refused``: those that have failed already, by their place."""
    files = [
        new_job(batch.key, source, batch.options, batch.surface, batch.request_id, parent=batch.id, position=position)
        for position, source in enumerate(sources)
    ]
    for position, failure in refused.items():
        file = files[position]
        files[position] = replace(file, state=JobState.FAILED, failure=failure, completed_at=file.created_at)
    return replace(batch, files=len(files)), files


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback, as it stands: ``attempts`` made, and when the next one is due (None once it is over)."""

    id: str
    job: str
    url: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: float | None
    created_at: float
