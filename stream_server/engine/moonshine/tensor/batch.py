"""Rows that are decoded together: what is read next, what the host makes of the choices, and who is done.

The first pass reads the start, the prefix and the draft of every clip at once. Then the device chooses a few tokens on
its own, the host takes them (a clip may have ended before the last of them), and so on. When few clips are left they
move together, so that smaller passes will do. (Going on with a draft behind its first mistake saves 5 to 8 % of the
passes and takes five times as many trips to the host: not worth it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_server.engine.moonshine.request import Hypothesis, Row
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings, smallest, widths_of
from stream_server.engine.moonshine.tensor.capture import Captures
from stream_server.engine.moonshine.tensor.decoder import Decoder, Memory


class Batch:
    """One use only: make it of rows whose clips are encoded in `memory`, in this order, and run it."""

    def __init__(
        self, decoder: Decoder, captures: Captures, settings: DeviceSettings, memory: Memory, rows: Sequence[Row]
    ) -> None:
        self._decoder = decoder
        self._captures = captures
        self._settings = settings
        self._memory = memory
        self._rows = list(rows)
        self._all = tuple(rows)
        self._lengths = [0] * len(self._rows)  # positions read and kept
        self._found: dict[Row, Hypothesis] = {}

    def run(self) -> list[Hypothesis]:
        """Decode until all rows are done."""
        self._read()
        while self._collect():
            self._step()
        return [self._found[row] for row in self._all]

    def _read(self) -> None:
        """The first pass."""
        width = smallest(widths_of(self._memory.room, self._settings), max(len(row.pending) for row in self._rows))
        ids = np.zeros((self._memory.clips, width), np.int64)
        wanted: list[int] = []
        for index, row in enumerate(self._rows):
            ids[index, : len(row.pending)] = row.pending
            wanted += range(index * width + row.first, index * width + len(row.pending))
        read = partial(self._decoder.read, memory=self._memory)
        start = torch.zeros(self._memory.clips, dtype=torch.int64)
        hidden = self._captures.run(_read_key(self._memory, width), read, torch.from_numpy(ids), start)
        chosen = self._decoder.choose(hidden.flatten(0, 1)[self._indices(wanted)])
        tokens, logprobs = self._fetch(chosen)
        choices, at = tokens.astype(np.int64).tolist(), 0
        likelihoods = logprobs.tolist()
        for index, row in enumerate(self._rows):
            end = at + len(row.pending) - row.first
            self._lengths[index] = row.take(choices[at:end], likelihoods[at:end])
            at = end

    def _step(self) -> None:
        """A few tokens of every row that is not done."""
        steps = self._settings.steps
        now = np.zeros((2, self._memory.clips), np.int64)  # rows that are done write where nobody reads
        for index, row in enumerate(self._rows):
            if not row.done:
                now[:, index] = row.pending[0], self._lengths[index]
        greedy = partial(self._decoder.greedy, memory=self._memory, steps=steps)
        token, start = torch.from_numpy(now)
        tokens, logprobs = self._fetch(self._captures.run(_greedy_key(self._memory), greedy, token, start))
        choices, likelihoods = tokens.astype(np.int64).tolist(), logprobs.tolist()
        for index, row in enumerate(self._rows):
            for step in range(steps):
                if row.done:
                    break
                self._lengths[index] += row.take(choices[index][step : step + 1], likelihoods[index][step : step + 1])

    def _collect(self) -> bool:
        """Take the outcome of the rows that are done; returns whether there are others."""
        ended = [index for index, row in enumerate(self._rows) if row.done and row not in self._found]
        aligned = [index for index in ended if self._rows[index].request.align]
        looks: dict[int, NDArray[np.float32]] = {}
        if aligned:
            rows = [self._rows[index] for index in aligned]
            tokens, frames = max(len(row.tokens) for row in rows) + 1, max(row.frames for row in rows)
            found = self._memory.looks[self._indices(aligned), :, :tokens, :frames]
            looks = dict(zip(aligned, self._fetch(found), strict=True))
        for index in ended:
            row = self._rows[index]
            seen = looks[index][:, : self._lengths[index]] if row.request.align else None
            self._found[row] = row.hypothesis(seen)
        running = len(self._all) - len(self._found)
        clips = smallest(self._settings.clips, running)
        if running and clips < self._memory.clips:
            self._shrink(clips)
        return running > 0

    def _shrink(self, clips: int) -> None:
        """Go on with the first `clips` places: rows behind them move to where rows are done."""
        origins = [index for index, row in enumerate(self._rows) if index >= clips and not row.done]
        targets = [index for index, row in enumerate(self._rows[:clips]) if row.done][: len(origins)]
        if origins:
            self._memory.move(self._indices(origins), self._indices(targets))
            for origin, target in zip(origins, targets, strict=True):
                self._rows[target], self._lengths[target] = self._rows[origin], self._lengths[origin]
        del self._rows[clips:], self._lengths[clips:]
        self._memory = self._memory.part(clips)

    def _indices(self, places: Sequence[int]) -> Tensor:
        return torch.tensor(places, device=self._memory.frames.device)

    def _fetch(self, values: Tensor) -> NDArray[np.float32]:
        """Copy to the host: the only point at which it waits for the device."""
        if values.device.type == "cpu":
            return values.numpy()
        held = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        return held.copy_(values).numpy()


def record(decoder: Decoder, captures: Captures, settings: DeviceSettings, memory: Memory) -> None:
    """Capture what a batch in `memory` runs."""
    start = torch.zeros(memory.clips, dtype=torch.int64)
    for width in widths_of(memory.room, settings):
        ids = torch.zeros(memory.clips, width, dtype=torch.int64)
        captures.record(_read_key(memory, width), partial(decoder.read, memory=memory), ids, start)
    greedy = partial(decoder.greedy, memory=memory, steps=settings.steps)
    captures.record(_greedy_key(memory), greedy, start, start)


def _read_key(memory: Memory, width: int) -> tuple[object, ...]:
    """By which a first pass of this shape is known."""
    return "read", *memory.looks.shape, width


def _greedy_key(memory: Memory) -> tuple[object, ...]:
    """By which steps of this shape are known."""
    return "greedy", *memory.looks.shape
