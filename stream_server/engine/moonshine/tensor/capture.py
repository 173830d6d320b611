"""Functions of tensors that are recorded as CUDA graphs where there is a card. What they compute is not known here."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_server.engine.capture import Recorder


@dataclass(frozen=True, eq=False)
class _Recording:
    replay: Callable[[], None]
    inputs: tuple[Tensor, ...]
    output: Tensor


class Captures:
    """Recordings by key. Off CUDA nothing is recorded, and everything runs as it is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recordings: dict[Hashable, _Recording] = {}
        self._recorder = Recorder(device) if device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self._recordings)

    def record(self, key: Hashable, function: Callable[..., Tensor], *inputs: Tensor) -> None:
        """Capture `function` for inputs of these shapes; it must not look at values from the host. No-op off CUDA."""
        if self._recorder is None or key in self._recordings:
            return
        held = tuple(each.to(self._device) for each in inputs)
        replay, output = self._recorder.record(lambda: function(*held))
        self._recordings[key] = _Recording(replay, held, output)

    def run(self, key: Hashable, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """The output for `inputs`, which may lie on the host. It stays valid until the next run with any key."""
        recording = self._recordings.get(key)
        if recording is None:
            return function(*(each.to(self._device, non_blocking=True) for each in inputs))
        for held, each in zip(recording.inputs, inputs, strict=True):
            held.copy_(each, non_blocking=True)
        recording.replay()
        return recording.output
