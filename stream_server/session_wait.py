"""What a caller waits for, a flush or the end, and what has to come before each is answered. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream_protocol.messages import End, Flush


@dataclass(slots=True)
class _Wait:
    """``channels``: whose segmenter has not reached it. ``segments``: whose final has not been sent."""

    message: Flush | End
    channels: set[int]
    segments: set[int]


class Waits:
    """Flushes and the end, answered in the order in which they came."""

    def __init__(self) -> None:
        self._waits: dict[int, _Wait] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, message: Flush | End, channels: Iterable[int]) -> int:
        """Another one, for every segment of these channels; the number by which each of them `reached` it."""
        number, self._next = self._next, self._next + 1
        self._waits[number] = _Wait(message, set(channels), set())
        return number

    def reached(self, number: int, channel: int, unsent: Iterable[int]) -> None:
        """The segmenter of a channel is done with all that came before; ``unsent``: its segments without a final."""
        wait = self._waits[number]
        wait.channels.discard(channel)
        wait.segments |= set(unsent)

    def sent(self, segment: int) -> None:
        """The final of this segment has been sent."""
        for wait in self._waits.values():
            wait.segments.discard(segment)

    def answerable(self) -> Iterator[Flush | End]:
        """Take those that wait for nothing any more, as far as none before them does."""
        while self._waits:
            number, wait = next(iter(self._waits.items()))
            if wait.channels or wait.segments:
                return
            del self._waits[number]
            yield wait.message
