"""How many sessions there may be at once, in all and of one key. Plain counters: no sockets, no clock."""

from __future__ import annotations

from collections import Counter

from stream_protocol.errors import ClientError, ErrorCode, ServerError


class SessionLimit:
    """Places for sessions. Looked at before the upgrade, so that a full server says so in HTTP.

    ``most_per_key`` of 0 sets no limit per key; callers without a key share none.
    """

    def __init__(self, most: int, *, most_per_key: int, retry_after: float) -> None:
        self.most = most
        self.taken = 0
        self.arriving = 0  # connections that have not said yet what they come for
        self.is_draining = False
        self._most_per_key = most_per_key
        self._by_key: Counter[str] = Counter()
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
            raise self.full(f"all {self.most} sessions are in use")

    def arrive(self) -> None:
        """A connection comes in; `settle` follows when it has a session, or goes.

        Raises:
            ServerError: ``CAPACITY_FULL``, when as many are undecided as there may be sessions.
        """
        if self.arriving >= self.most:
            raise self.full("too many connections have not sent their init message")
        self.arriving += 1

    def settle(self) -> None:
        assert self.arriving > 0
        self.arriving -= 1

    def full(self, message: str) -> ServerError:
        """The error for a caller there is no room for."""
        return ServerError(ErrorCode.CAPACITY_FULL, message, retry_after=self._retry_after)

    def acquire(self, key: str | None) -> None:
        """Take a place.

        Raises:
            ServerError: as `check`.
            ClientError: ``RATE_LIMITED``, when the key has as many sessions as it may.
        """
        self.check()
        if key is not None and 0 < self._most_per_key <= self._by_key[key]:
            raise ClientError(
                ErrorCode.RATE_LIMITED,
                f"this API key has {self._most_per_key} sessions, as many as it may; end one of them",
                retry_after=self._retry_after,
            )
        self.taken += 1
        if key is not None:
            self._by_key[key] += 1

    def release(self, key: str | None) -> None:
        """Give a place back, with the key it was taken with."""
        assert self.taken > 0
        self.taken -= 1
        if key is not None:
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]
