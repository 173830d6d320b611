"""Work on a card that is recorded once as a CUDA graph, and from then on done by one launch instead of hundreds.

Imports torch: only recognizers that run on it use this. What the work is, it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

_REHEARSALS = 2  # runs before a capture, in which libraries choose their kernels and take their workspaces

_Outcome = TypeVar("_Outcome")


class Recorder:
    """Records work on one card. All of it shares one memory pool, so it runs one after the other, on one stream."""

    def __init__(self, device: torch.device) -> None:
        # One stream for all: libraries keep a workspace for each stream that they have seen, taken at the rehearsal.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.renew()

    def renew(self) -> None:
        """Begin a new pool. To be called when everything recorded was dropped: torch then gives up the old one."""
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], _Outcome]) -> tuple[Callable[[], None], _Outcome]:
        """Returns what does ``work`` anew, at the same addresses, whenever it is called; and the outcome.

        ``work`` must not wait for the device. Tensors of the outcome lie in the shared memory: they are filled by a
        call, and valid until the next call of anything recorded here.
        """
        stream, current = self._stream, torch.cuda.current_stream(self._stream.device)
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):  # `graph` does not leave the stream where a capture cannot be ended
            for _ in range(_REHEARSALS):
                work()
            # Other threads may use the card meanwhile.
            with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                outcome = work()
        current.wait_stream(stream)
        return graph.replay, outcome
