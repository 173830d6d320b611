"""Calls the recognizer, and sees to it that what goes wrong concerns only those it went wrong for.

A batch that fails is retried one by one; what comes back is looked at once, here. It knows no queues, no streams of the
engine and no threads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from stream_server.engine.inspection import inspect
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError, GarbageError, Recognizer, Task
from stream_server.engine.statistics import EngineStatistics
from stream_server.engine.watchdog import Watchdog
from stream_server.engine.work import Hypothesis

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A task, and the audio of its segment that the recognizer has then heard: samples from ``start`` to ``end``."""

    task: Task
    start: int
    end: int


class Decoding:
    """Decodes batches with one recognizer. For the device thread."""

    def __init__(self, recognizer: Recognizer, statistics: EngineStatistics, watchdog: Watchdog) -> None:
        self._recognizer = recognizer
        self._statistics = statistics
        self._watchdog = watchdog

    def run(self, items: Sequence[Item]) -> list[Hypothesis | Exception]:
        """A hypothesis for every item, or why there is none.

        Raises:
            DeviceLostError: the device is gone, and every stream with it.
        """
        try:
            with self._watchdog.watching():
                outcomes = self._recognizer.step([item.task for item in items])
        except DeviceLostError:
            raise
        except Exception as error:
            if len(items) == 1 and isinstance(error, DeviceMemoryError):
                raise DeviceLostError(f"no memory even for a single stream: {error}") from error
            if len(items) == 1:
                return [error]
            logger.warning("a batch of %d failed (%s); retrying one by one", len(items), error)
            self._statistics.retried += 1
            return [outcome for item in items for outcome in self.run([item])]
        # Streams have changed: there is nothing to retry.
        if not isinstance(outcomes, Sequence) or len(outcomes) != len(items):
            count = len(outcomes) if isinstance(outcomes, Sequence) else type(outcomes).__name__
            return [self._garbage(GarbageError(f"{count} hypotheses for {len(items)} tasks"))] * len(items)
        return [self._believed(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]

    def _believed(self, item: Item, outcome: Hypothesis | Exception) -> Hypothesis | Exception:
        if isinstance(outcome, Exception):
            return outcome
        try:
            inspect(outcome, item.start, item.end)
        except GarbageError as error:
            return self._garbage(error)
        except Exception as error:  # so broken that it cannot even be looked at
            return self._garbage(GarbageError(f"{type(error).__name__}: {error}"))
        return outcome

    def _garbage(self, error: GarbageError) -> GarbageError:
        self._statistics.garbage += 1
        return error
