"""Functions on a device that are recorded once as CUDA graphs, and then run by one launch instead of hundreds.

All graphs share one memory pool and run one after the other on the current stream. What they compute is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

_REHEARSALS = 2  # runs before a capture, in which libraries take their memory


@dataclass(frozen=True, eq=False)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Captures:
    """Recordings by key. Off CUDA nothing is recorded, and everything runs as it is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recordings: dict[Hashable, _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self._recordings)

    def record(self, key: Hashable, function: Callable[..., Tensor], *inputs: Tensor) -> None:
        """Capture `function` for inputs of these shapes; it must not look at values from the host. No-op off CUDA."""
        if self._pool is None or key in self._recordings:
            return
        held = tuple(each.to(self._device) for each in inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_REHEARSALS):
                    function(*held)
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(graph, pool=self._pool):
                output = function(*held)
        self._recordings[key] = _Recording(graph, held, output)

    def run(self, key: Hashable, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """The output for `inputs`, which may lie on the host. It stays valid until the next run with this key."""
        recording = self._recordings.get(key)
        if recording is None:
            return function(*(each.to(self._device, non_blocking=True) for each in inputs))
        for held, each in zip(recording.inputs, inputs, strict=True):
            held.copy_(each, non_blocking=True)
        recording.graph.replay()
        return recording.output
