"""What the engine counts about itself. It knows nothing of how the numbers are shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_server.engine.distribution import Distribution
from stream_server.engine.recognizer import Kind

STEP_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.35, 0.6, 1.0, 2.0, 5.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)


@dataclass(slots=True)
class EngineStatistics:
    """Counters since the start; read by the metrics, written by the engine's threads, each by one at a time.

    ``retried``: batches that failed and were taken apart. ``failed``: decodes that failed even alone. ``garbage``: of
    these, those whose result could not be believed. ``hung``: steps that did not end.
    """

    steps: int = 0
    jobs: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    audio_seconds: float = 0.0
    busy_seconds: float = 0.0
    retried: int = 0
    failed: int = 0
    garbage: int = 0
    stale: int = 0
    hung: int = 0
    step_seconds: Distribution = field(default_factory=lambda: Distribution(STEP_SECONDS))
    batch_sizes: Distribution = field(default_factory=lambda: Distribution(BATCH_SIZES))
