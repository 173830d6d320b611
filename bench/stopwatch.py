"""How long a piece of work takes on its device, alone. Knows nothing of what it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import torch

_REPEATS: Final = 15
_PATIENCE_SEC: Final = 1.0


def seconds_of(work: Callable[[], object], device: torch.device, *, record: bool = True) -> float:
    """Seconds that ``work`` takes, the median of some repetitions after the first ones.

    On a card it is the time between two events, of a recorded graph where ``record`` allows, so that launching its
    kernels does not count: that is how a step runs them. On the CPU it is the time on the clock.
    """
    if device.type != "cuda":
        return host_seconds(work)
    if record:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = work()  # what it returns must live as long as the graph
        work = graph.replay
    for _ in range(2):
        work()
    events = [(_event(), _event()) for _ in range(_REPEATS)]
    for begin, end in events:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    if record:
        del kept
    taken: float = median(begin.elapsed_time(end) for begin, end in events)
    return taken / 1e3


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


def host_seconds(work: Callable[[], object]) -> float:
    """Seconds on the clock, the median of some repetitions, fewer of what takes long; ``work`` waits for its end."""
    work()
    times: list[float] = []
    while len(times) < 3 or (len(times) < _REPEATS and sum(times) < _PATIENCE_SEC):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
        if times[0] > _PATIENCE_SEC:
            break
    return median(times)
