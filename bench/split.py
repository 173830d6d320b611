"""Where the time of a step goes: each part is run alone, on the batch that the step has.

Looks inside the engine's programs, whose parts are recorded each by itself. Knows nothing of schedules and targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import torch

from bench.driver import MeteredRunner, RecognizerLoad
from bench.stopwatch import host_seconds, seconds_of
from stream_server.engine.fastconformer.geometry import Geometry

STEPS: Final = 12
PATIENCE_SEC: Final = 3.0

MakeLoad = Callable[[int, int], RecognizerLoad]
"""From a number of streams and the samples of a chunk."""


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds of a step for ``rows`` streams by ``frames`` encoder frames, and of its parts.

    ``total``: the recognizer's step, of which ``run`` is the runner's and the rest text. Of the runner's: ``fill``, the
    samples into the buffer that is copied; ``copy_in`` and ``copy_out``; on the device ``features``, ``encoder`` (with
    subsampling and state) and ``search``, one round of it; ``rounds`` as often as it was needed on average.
    """

    frames: int
    rows: int
    total: float
    run: float
    fill: float
    copy_in: float
    features: float
    encoder: float
    search: float
    rounds: float
    copy_out: float

    @property
    def text(self) -> float:
        """What the recognizer adds: chunks of tasks, tokens to text."""
        return max(0.0, self.total - self.run)

    @property
    def device(self) -> float:
        """Features, encoder and search."""
        return self.features + self.encoder + self.rounds * self.search

    @property
    def other(self) -> float:
        """What the runner takes beyond its parts: launching, waiting, collecting."""
        return max(0.0, self.run - self.fill - self.copy_in - self.device - self.rounds * self.copy_out)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in milliseconds."""
        values = {**asdict(self), "text": self.text, "other": self.other, "device": self.device}
        counts = ("frames", "rows", "rounds")
        return {name if name in counts else f"{name}_ms": _rounded(name, value) for name, value in values.items()}


def _rounded(name: str, value: float) -> float:
    return value if isinstance(value, int) else round(value if name == "rounds" else 1e3 * value, 4)


def measure_split(runner: MeteredRunner, make_load: MakeLoad, frames: int, rows: int) -> Split:
    """Split a step of a full bucket: the smallest that takes ``rows``."""
    rows = next((bucket for bucket in runner.buckets[frames] if bucket >= rows), runner.buckets[frames][-1])
    totals, runs, rounds = whole_steps(runner, make_load, frames, rows)
    device = runner.state.attention.device
    program = runner._programs[frames, rows]
    with torch.inference_mode():
        memory = runner.state.gather(program._rows)
        step, audio = program._rows, program._audio

        def features() -> object:
            return runner.model.features(audio, memory.tail, memory.position, step.samples, step.last)

        front = seconds_of(features, device)
        # The programs are recorded already.
        encode = seconds_of(program._run_encode, device, record=False)
        search = seconds_of(program._run_search[False], device, record=False)
        copy_in = seconds_of(lambda: program._input.copy_(program._staging, non_blocking=True), device, record=False)
        copy_out = seconds_of(lambda: program._result.copy_(program._output, non_blocking=True), device, record=False)
    return Split(
        frames=frames,
        rows=rows,
        total=median(totals),
        run=median(runs),
        fill=host_seconds(lambda: program._fill(runner.last)),
        copy_in=copy_in,
        features=front,
        encoder=max(0.0, encode - front),
        search=search,
        rounds=rounds,
        copy_out=copy_out,
    )


def whole_steps(
    runner: MeteredRunner, make_load: MakeLoad, frames: int, rows: int, patience: float = PATIENCE_SEC
) -> tuple[list[float], list[float], float]:
    """Seconds of some steps of all rows, of the runner's part of them, and rounds of the search for each."""
    geometry = Geometry.of(runner.model.config.feature, runner.model.config.encoder)
    load = make_load(rows, geometry.chunk_samples(frames))
    totals: list[float] = []
    runs: list[float] = []
    rounds: list[int] = []
    while len(totals) < 3 or (len(totals) < STEPS and sum(totals) < patience):
        for stream in range(rows):
            while not load.deliver(stream, 0.0):
                pass
        runner.reset()
        began = time.perf_counter()
        load.step(0.0)
        totals.append(time.perf_counter() - began)
        runs.append(runner.seconds)
        rounds.append(runner.rounds)
        while load.step(0.0):  # the ends of segments
            pass
    return totals[1:], runs[1:], sum(rounds) / len(rounds)
