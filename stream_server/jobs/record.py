"""Between rows of the table `jobs` and values: nothing else knows how a job is written down."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import sqlalchemy as sa

from stream_server.jobs.error import Reason
from stream_server.jobs.job import Failure, Job, JobState, Progress, Source, TranscriptionOptions
from stream_server.jobs.table import jobs

COLUMNS = [column.name for column in jobs.c if column.name != "waiter"]


def to_row(job: Job, *, waiter: str | None) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "api_key": job.key,
        "surface": job.surface,
        "request_id": job.request_id,
        "options": job.options.model_dump_json(exclude_defaults=True),
        "source": None if job.source is None else job.source.model_dump_json(exclude_defaults=True),
        "parent": job.parent,
        "position": job.position,
        "files": job.files,
        "callback_url": job.callback_url,
        "failure": None if job.failure is None else failure_to(job.failure),
        "completed_at": job.completed_at,
        "waiter": waiter,
        "created_at": job.created_at,
    }


def from_row(row: sa.RowMapping) -> Job:
    values = {name: row[name] for name in COLUMNS if name != "api_key"}
    failure = orjson.loads(row["failure"]) if row["failure"] else None
    values |= {
        "key": row["api_key"],
        "state": JobState(row["state"]),
        "options": TranscriptionOptions.model_validate_json(row["options"]),
        "source": Source.model_validate_json(row["source"]) if row["source"] else None,
        "progress": progress_from(row["progress"]),
        "failure": Failure(Reason(failure["reason"]), failure["message"]) if failure else None,
    }
    return Job(**values)


def progress_from(document: str | None) -> Progress | None:
    return Progress(**orjson.loads(document)) if document else None


def progress_to(progress: Progress) -> str:
    return orjson.dumps(progress).decode()


def failure_to(failure: Failure) -> str:
    return orjson.dumps(asdict(failure)).decode()
