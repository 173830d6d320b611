"""Runs a voice activity detector that is not inline: frames of many sessions, one batch at a time, in a thread.

While one batch is being judged the next gathers, so batches grow with the load by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.vad import VadModel
from stream_server.channel import Detection

Answer = Callable[[NDArray[np.float32] | Exception], None]
"""Takes the probabilities, or why there are none."""

logger = logging.getLogger(__name__)


class Detector:
    """One detector model for all sessions. A session has one question at a time, which bounds the queue."""

    def __init__(self, model: VadModel, loop: asyncio.AbstractEventLoop, *, max_batch: int = 256) -> None:
        self.model = model
        self._loop = loop
        self._max_batch = max_batch
        self._waiting: deque[tuple[Detection, Answer]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vad")

    def submit(self, detection: Detection, answer: Answer) -> None:
        """Have frames judged; ``answer`` is called in the event loop."""
        self._waiting.append((detection, answer))
        if self._running is None:
            # Not in the context of the session that happens to be the first: its id is not that of the others.
            self._running = self._loop.create_task(self._run(), context=Context())

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
                outcomes = await self._judge([detection for detection, _ in batch])
                for (_, answer), outcome in zip(batch, outcomes, strict=True):
                    answer(outcome)
        finally:
            self._running = None

    async def _judge(self, detections: Sequence[Detection]) -> Sequence[NDArray[np.float32] | Exception]:
        states, frames = [item.state for item in detections], [item.frames for item in detections]
        try:
            return await self._loop.run_in_executor(self._thread, self.model.detect, states, frames)
        except Exception as error:
            logger.exception("the voice activity detector failed on a batch of %d", len(detections))
            return [error] * len(detections)
