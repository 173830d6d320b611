"""What can go wrong with a job or a request for one: one error, and a closed list of reasons.

Every dialect has its own shape and status for each reason; none makes up reasons of its own.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused or has failed. The value is what is stored and what dialects show as a code."""

    MISSING_PARAMETER = "MISSING_PARAMETER"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    """Not audio, damaged, or a container we do not read."""
    FEATURE_UNAVAILABLE = "FEATURE_UNAVAILABLE"
    """Asked for rightly, but the loaded model or the settings cannot do it; the message names what can be done."""
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    AUDIO_TOO_LONG = "AUDIO_TOO_LONG"
    URL_REFUSED = "URL_REFUSED"
    """An address we do not fetch from: private, another scheme, a bucket that is not configured."""
    URL_FAILED = "URL_FAILED"
    """The address could not be fetched."""
    UPLOAD_INCOMPLETE = "UPLOAD_INCOMPLETE"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    """The key is valid, but lacks the scope."""
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONFLICT = "CONFLICT"
    """The job is not in a state in which this can be done."""
    CANCELLED = "CANCELLED"
    RATE_LIMITED = "RATE_LIMITED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    TIMEOUT = "TIMEOUT"
    INTERNAL = "INTERNAL"


STATUS = {
    Reason.MISSING_PARAMETER: 400,
    Reason.INVALID_PARAMETER: 400,
    Reason.UNSUPPORTED_FORMAT: 400,
    Reason.FEATURE_UNAVAILABLE: 422,
    Reason.FILE_TOO_LARGE: 413,
    Reason.AUDIO_TOO_LONG: 422,
    Reason.URL_REFUSED: 400,
    Reason.URL_FAILED: 422,
    Reason.UPLOAD_INCOMPLETE: 400,
    Reason.UNAUTHORIZED: 401,
    Reason.FORBIDDEN: 403,
    Reason.NOT_FOUND: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.CONFLICT: 409,
    Reason.CANCELLED: 409,
    Reason.RATE_LIMITED: 429,
    Reason.SERVICE_UNAVAILABLE: 503,
    Reason.TIMEOUT: 504,
    Reason.INTERNAL: 500,
}
"""The HTTP status of a reason, where a dialect's document names no other."""


class JobError(Exception):
    """A request or a job cannot be done. ``parameter`` names the field at fault; ``retry_after`` is in seconds."""

    def __init__(
        self, reason: Reason, message: str, *, parameter: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.parameter = parameter
        self.retry_after = retry_after
