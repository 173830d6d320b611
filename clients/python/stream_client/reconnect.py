"""When to try again after a connection broke, and what is told about it. It waits for nothing itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How hard to try when a connection breaks.

    Waits grow from ``first_wait_sec`` by ``factor`` up to ``max_wait_sec``, each with full jitter (a random part of
    it), so that a thousand clients of a server that restarts do not come back at one instant. A Retry-After of the
    server is the least to wait. After ``give_up_sec`` the stream ends with an error; 0 never reconnects.
    """

    give_up_sec: float = 30.0
    first_wait_sec: float = 0.2
    max_wait_sec: float = 5.0
    factor: float = 2.0

    def waits(self) -> Iterator[float]:
        """Seconds to wait before each further attempt, without end."""
        longest = self.first_wait_sec
        while True:
            yield random.uniform(0, longest)  # noqa: S311 - jitter, not a secret
            longest = min(longest * self.factor, self.max_wait_sec)


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """What has become of the connection; ``message`` is for people to read.

    ``lost``: it is being mended. ``resumed``: the session goes on. ``restarted``: a new session has taken over, and
    what was open in the old one begins anew.
    """

    state: Literal["lost", "resumed", "restarted"]
    message: str
