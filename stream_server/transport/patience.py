"""How long a peer may leave a full socket unread: one timer, for either protocol. It knows no frames and no HTTP."""

from __future__ import annotations

import asyncio
from typing import Final

WRITE_PATIENCE: Final = 30.0
"""Seconds that a full socket may stay full."""


class WritePatience:
    """Cuts a connection off whose peer takes nothing for `WRITE_PATIENCE` seconds."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def start(self, transport: asyncio.Transport) -> None:
        """The socket is full."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(WRITE_PATIENCE, transport.abort)

    def stop(self) -> None:
        """It is not, or is gone. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
