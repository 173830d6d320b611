"""Says once when the process is about to run out of file descriptors, and once when it has enough again.

Sockets that cannot be accepted are closed by the event loop without a word, so nobody else would say it. It knows
nothing of what the descriptors are for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from typing import Final

logger = logging.getLogger(__name__)

INTERVAL_SEC: Final = 2.0
FULL: Final = 0.9
ENOUGH: Final = 0.8

_OPEN: Final = "/dev/fd"


class DescriptorWatch:
    """Looks at the descriptors of this process."""

    def __init__(self) -> None:
        self._is_short = False

    async def run(self) -> None:
        """Look every few seconds, until it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL_SEC)

    def look(self) -> None:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            share = 0.0 if most == resource.RLIM_INFINITY else len(os.listdir(_OPEN)) / most
        except OSError:  # not even one is left to look with
            share = 1.0
        if not self._is_short and share >= FULL:
            self._is_short = True
            logger.error(
                "file descriptors run out, and connections are dropped: raise the limit (ulimit -n, now %d)", most
            )
        elif self._is_short and share < ENOUGH:
            self._is_short = False
            logger.info("there are file descriptors again")
