"""A recognizer that returns nonsense for some segments, and the truth for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stream_server.engine.recognizer import RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import Hypothesis
from tests.support.fake import FakeRecognizer


class Garbled:
    """``nonsense`` makes of a hypothesis for a segment of this id what is returned."""

    def __init__(self, nonsense: Callable[[Hypothesis], Any], recognizer: FakeRecognizer, *, segment: int) -> None:
        self._nonsense = nonsense
        self._recognizer = recognizer
        self._segment = segment

    @property
    def info(self) -> RecognizerInfo:
        return self._recognizer.info

    def new_stream(self, slot: Slot) -> Stream:
        return self._recognizer.new_stream(slot)

    def step(self, tasks: Sequence[Task]) -> Any:
        hypotheses = self._recognizer.step(tasks)
        return [
            self._nonsense(hypothesis) if task.segment_id == self._segment else hypothesis
            for task, hypothesis in zip(tasks, hypotheses, strict=True)
        ]
