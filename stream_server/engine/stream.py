"""A caller's handle to the engine. It knows nothing of what becomes of its commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from stream_server.engine.planner import Planner
from stream_server.engine.recognizer import Stream
from stream_server.engine.slots import Slot
from stream_server.engine.work import Command, Hypothesis, Outcome

if TYPE_CHECKING:
    from stream_server.engine.engine import Engine

Deliver = Callable[[Outcome], None]


class EngineStream:
    """A caller's handle. Made by `Engine.open`; submit commands from one thread at a time, then close it."""

    def __init__(
        self,
        engine: Engine,
        slot: Slot,
        planner: Planner,
        state: Stream,
        deliver: Deliver,
        about: Mapping[str, str],
    ) -> None:
        self._engine = engine
        self.slot = slot
        self.planner = planner
        self.state = state
        self.deliver = deliver
        self.about = about
        self.shown: Hypothesis | None = None  # the last one that was delivered

    def submit(self, commands: Sequence[Command]) -> None:
        """Hand over commands, in order."""
        self._engine.submit(self, commands)

    @property
    def backlog(self) -> float:
        """How much audio waits for its finals or chunks; above 1 the sender should pause."""
        return self._engine.backlog(self)

    def close(self) -> None:
        """Forget the stream; what is still queued is dropped. Idempotent."""
        self._engine.close_stream(self)
