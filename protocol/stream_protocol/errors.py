"""The error table: every code a caller can meet, with its WebSocket close code and HTTP status.

Two families, as in h11: :class:`ClientError` is the caller's fault and says what is allowed, :class:`ServerError` is
ours. Both carry a code of the table; nothing else maps codes to numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong; a newer server may have more of them."""

    INVALID_INIT = "INVALID_INIT"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    UNSUPPORTED_AUDIO = "UNSUPPORTED_AUDIO"
    AUTH_FAILED = "AUTH_FAILED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    LANGUAGE_NOT_SUPPORTED = "LANGUAGE_NOT_SUPPORTED"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    CAPACITY_FULL = "CAPACITY_FULL"
    TIMEOUT = "TIMEOUT"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_REPLACED = "SESSION_REPLACED"
    SERVER_DRAINING = "SERVER_DRAINING"
    INTERNAL_ERROR = "INTERNAL_ERROR"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row of the table: what the code means and how it ends a connection."""

    close_code: int
    http_status: int
    meaning: str


ERROR_TABLE: dict[ErrorCode, ErrorRule] = {
    ErrorCode.INVALID_INIT: ErrorRule(
        1002, 400, "the first frame is not a valid init message: not JSON, or a field of the wrong type"
    ),
    ErrorCode.PROTOCOL_ERROR: ErrorRule(
        1002, 400, "a later frame breaks the protocol: audio before init, not JSON, unknown message type"
    ),
    ErrorCode.UNSUPPORTED_AUDIO: ErrorRule(
        1003, 415, "unknown dtype, a sample rate or channel count out of range, or audio that cannot be decoded"
    ),
    ErrorCode.AUTH_FAILED: ErrorRule(4001, 401, "missing, wrong, expired or revoked API key"),
    ErrorCode.MODEL_NOT_FOUND: ErrorRule(4004, 404, "no such model; the message lists those that are served"),
    ErrorCode.LANGUAGE_NOT_SUPPORTED: ErrorRule(
        4004, 404, "the model does not speak that language; the message lists those it does"
    ),
    ErrorCode.MESSAGE_TOO_LARGE: ErrorRule(1009, 413, "a frame is larger than the server accepts"),
    ErrorCode.RATE_LIMITED: ErrorRule(4029, 429, "a limit of this API key is used up; see retry_after"),
    ErrorCode.CAPACITY_FULL: ErrorRule(1013, 503, "the server is full; see retry_after"),
    ErrorCode.TIMEOUT: ErrorRule(
        4008, 408, "no init, no audio, or too long a connection; what was heard was made final first"
    ),
    ErrorCode.SESSION_NOT_FOUND: ErrorRule(4010, 404, "the session to resume is unknown or its window has passed"),
    ErrorCode.SESSION_REPLACED: ErrorRule(4011, 409, "the session was resumed by another connection"),
    ErrorCode.SERVER_DRAINING: ErrorRule(
        1012, 503, "the server is shutting down, or its engine has failed; connect again, or to another server"
    ),
    ErrorCode.INTERNAL_ERROR: ErrorRule(1011, 500, "our fault; the message holds the session id to report"),
}


class StreamError(Exception):
    """Something that ends a connection, or a request, with a code of the table.

    ``retry_after`` is in seconds and is present where waiting helps.
    """

    def __init__(self, code: ErrorCode, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def rule(self) -> ErrorRule:
        return ERROR_TABLE[self.code]


class ClientError(StreamError):
    """The caller did something that the protocol does not allow."""


class ServerError(StreamError):
    """The server cannot serve: full, draining, or at fault."""
