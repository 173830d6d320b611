"""Callbacks as the jobs that have them show them. None of the documents has this; it is the same in all dialects."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel

from stream_server.jobs.job import Job
from stream_server.jobs.service import Transcriptions

CALLBACK_HELP: Final = "Address that is told when the job ends, with a signed `POST`."


class Callback(BaseModel):
    """How far the callback of a job is: ``attempts`` made so far, and how the last of them went."""

    url: str
    status: Literal["waiting", "pending", "delivered", "failed"]
    """``waiting`` for the job to end; ``pending`` until it is delivered or given up."""
    attempts: int
    last_status: int | None = None
    last_error: str | None = None


async def callback_of(transcriptions: Transcriptions, job: Job) -> Callback | None:
    """The callback of a job; None where none was asked for."""
    if job.callback_url is None:
        return None
    delivery = await transcriptions.delivery(job)
    if delivery is None:
        return Callback(url=job.callback_url, status="waiting", attempts=0, last_status=None, last_error=None)
    return Callback(
        url=delivery.url,
        status=delivery.state,
        attempts=delivery.attempts,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
    )
