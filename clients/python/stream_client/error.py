"""The one exception of this client. It does not know the network."""

from __future__ import annotations

from typing import Final

CONNECTION_FAILED: Final = "CONNECTION_FAILED"  # no connection could be made
CONNECTION_LOST: Final = "CONNECTION_LOST"  # it broke, and could not be resumed
EVENTS_NOT_READ: Final = "EVENTS_NOT_READ"  # the caller sends audio and never reads what comes back


class StreamClientError(Exception):
    """Why a stream ended early.

    ``code`` is one of the protocol's (``stream_protocol.ErrorCode``) where the server said it, or one of this module.
    ``retry_after`` is in seconds and is present where waiting helps.
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after
