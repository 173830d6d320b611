"""How many sessions there may be at once. A plain counter: no sockets, no clock."""

from __future__ import annotations

from stream_protocol.errors import ErrorCode, ServerError


class SessionLimit:
    """Places for sessions. Taken before the upgrade, so that a full server says so in HTTP."""

    def __init__(self, most: int, *, retry_after: float) -> None:
        self.most = most
        self.taken = 0
        self.is_draining = False
        self._retry_after = retry_after

    def check(self) -> None:
        """Whether another session may come.

        Raises:
            ServerError: ``SERVER_DRAINING`` or ``CAPACITY_FULL``, with when to try again.
        """
        if self.is_draining:
            raise ServerError(
                ErrorCode.SERVER_DRAINING, "the server is shutting down; connect again", retry_after=self._retry_after
            )
        if self.taken >= self.most:
            raise ServerError(
                ErrorCode.CAPACITY_FULL, f"all {self.most} sessions are in use", retry_after=self._retry_after
            )

    def acquire(self) -> None:
        """Take a place; raises as `check` does."""
        self.check()
        self.taken += 1

    def release(self) -> None:
        assert self.taken > 0
        self.taken -= 1
