"""A fixed number of places for streams, each with a generation number.

A recognizer may hold a stream's state in tensors indexed by slot. A result carries the generation it was computed for;
when the caller has gone and the slot has been given to another, the generations differ and the result is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream_server.engine.work import EngineFullError


@dataclass(frozen=True, slots=True)
class Slot:
    """Place ``index`` as taken for the ``generation``-th time."""

    index: int
    generation: int


class SlotPool:
    """Slots 0 to ``size`` - 1. Not thread-safe: the engine guards it."""

    def __init__(self, size: int) -> None:
        assert size > 0
        self.size = size
        self._generations = [0] * size
        self._free = list(range(size - 1, -1, -1))

    @property
    def taken(self) -> int:
        return self.size - len(self._free)

    def acquire(self) -> Slot:
        """Take a free slot.

        Raises:
            EngineFullError: every slot is taken.
        """
        if not self._free:
            raise EngineFullError(f"all {self.size} streams are in use")
        index = self._free.pop()
        self._generations[index] += 1
        return Slot(index, self._generations[index])

    def release(self, slot: Slot) -> None:
        assert self.is_current(slot)
        self._generations[slot.index] += 1
        self._free.append(slot.index)

    def is_current(self, slot: Slot) -> bool:
        """Whether the slot still belongs to whoever acquired it."""
        return self._generations[slot.index] == slot.generation
