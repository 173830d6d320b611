"""Where a page of jobs ends, as a text that callers hand back for the next one."""

from __future__ import annotations

import binascii
import math
import struct
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Job


def write_cursor(job: Job) -> str:
    """The cursor behind this job."""
    return urlsafe_b64encode(struct.pack(">d", job.created_at) + uuid.UUID(job.id).bytes).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[float, str]:
    """The time and the id of the job that a cursor is behind.

    Raises:
        JobError: ``INVALID_PARAMETER``.
    """
    try:
        packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        (created,) = struct.unpack(">d", packed[:8])
        job = str(uuid.UUID(bytes=packed[8:]))
    except (binascii.Error, ValueError, struct.error):
        created, job = math.nan, ""
    if not math.isfinite(created):
        raise JobError(Reason.INVALID_PARAMETER, "this cursor is not one of ours", parameter="cursor")
    return created, job
