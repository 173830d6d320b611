"""Where outcomes arrive that the device thread delivers."""

from __future__ import annotations

import queue

import pytest

from stream_server.engine.work import Outcome


@pytest.fixture
def results() -> queue.SimpleQueue[tuple[int, Outcome]]:
    return queue.SimpleQueue()
