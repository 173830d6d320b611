"""Moonshine on ONNX Runtime: clips of audio in, token hypotheses out, several clips to a step.

Each clip is encoded by itself, without padding; the decoder runs all unfinished clips together, with ragged lengths
masked. The graphs are exact by row (see `graph.py`), so a clip's result does not depend, to the last bit, on its
company or on a draft. Text, words, partials and what is stable are not known here.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_server.engine.moonshine.architecture import HEAD, HEADS, LAYERS, count_frames
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.builder import Builder, open_session
from stream_server.engine.moonshine.graph import build_decoder, build_encoder
from stream_server.engine.moonshine.request import SAMPLE_RATE, Hypothesis, Request, Row, clip_of
from stream_server.engine.moonshine.weight import load_weights

_ROOM = 32  # the cache grows by so many positions
_HIDDEN = np.float32(-1e9)  # added to a score that must not count


class _Clip(Row):
    """One clip being decoded, with what the encoder made of it and where the decoder has looked so far."""

    def __init__(self, request: Request, frames: int, cross: NDArray[np.float32]) -> None:
        super().__init__(request, frames)
        self.cross = cross
        self.looks: list[NDArray[np.float32]] = []

    def conclude(self) -> Hypothesis:
        return self.hypothesis(np.concatenate(self.looks, axis=1) if self.request.align else None)


class Model:
    """The loaded network; a `Backend`. Nothing in it changes after construction."""

    description = "on ONNX Runtime (CPU)"

    def __init__(self, assets: Assets, *, threads: int = 1, new_builder: Callable[[], Builder] = Builder) -> None:
        """Read the weights and build both sessions. Raises WeightError if the files are not what they should be.

        `new_builder`: what writes the graphs' products.
        """
        encoder, decoder = load_weights(assets.encoder), load_weights(assets.decoder)
        self._encoder = open_session(build_encoder(encoder, decoder, new_builder()), 1)
        self._decoder = open_session(build_decoder(decoder, new_builder()), 1)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="moonshine") if threads > 1 else None

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """Greedy hypotheses of `requests`, in their order. Raises ValueError for a clip unlike what `Request` says."""
        if self._pool is None or len(requests) < 2:
            return self._decode(requests)
        # Long and short clips spread evenly; a clip's result does not depend on its group.
        order = sorted(range(len(requests)), key=lambda index: -len(requests[index].audio))
        groups = [group for first in range(self._threads) if (group := order[first :: self._threads])]
        parts = self._pool.map(self._decode, [[requests[index] for index in group] for group in groups])
        found: dict[int, Hypothesis] = {}
        for group, part in zip(groups, parts, strict=True):
            found |= zip(group, part, strict=True)
        return [found[index] for index in range(len(requests))]

    def warm_up(self, longest: int, clips: int) -> None:
        """Decode the longest clips there can be, and `clips` short ones, so that all memory is taken."""
        silence = np.zeros(longest, np.float32)
        self.decode([Request(silence)] * max(1, self._threads))
        self.decode([Request(silence[: 5 * SAMPLE_RATE])] * clips)

    def _decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        rows = [self._open(request) for request in requests]
        # Long clips first: the short ones, last, tend to finish first, and the batch shrinks from its end.
        running = _Batch(self._decoder, sorted(rows, key=lambda row: -row.frames)) if rows else None
        while running is not None and running.step():
            pass
        return [row.conclude() for row in rows]

    def _open(self, request: Request) -> _Clip:
        audio = clip_of(request)
        (cross,) = self._encoder.run(None, {"audio": audio[None]})
        return _Clip(request, count_frames(len(audio)), cross)


class _Batch:
    """The rows that run together, and the decoder's memory of them.

    Self-attention keys and values stand in a cache with room for some positions, each row filled from the left to its
    own length: what a rejected draft left behind is masked, and then overwritten. ONNX Runtime reads the arrays in
    place, so that nothing but the new positions is copied between steps.
    """

    def __init__(self, decoder: onnxruntime.InferenceSession, rows: list[_Clip]) -> None:
        assert rows
        self._decoder = decoder
        self._rows = rows
        self._lengths = np.zeros(len(rows), np.int64)
        self._cache = np.zeros((2 * LAYERS, len(rows), HEADS, 0, HEAD), np.float32)
        room = max(row.cross.shape[2] for row in rows)
        self._cross = rows[0].cross[:, None]
        if len(rows) > 1:
            self._cross = np.zeros((2 * LAYERS, len(rows), HEADS, room, HEAD), np.float32)
            for index, row in enumerate(rows):
                self._cross[:, index, :, : row.cross.shape[2]] = row.cross
        frames = np.array([row.frames for row in rows])
        self._cross_mask = _mask(np.arange(room) < frames[:, None])[:, None, None, None]

    def step(self) -> bool:
        """Feed every row what it has not been fed yet, and take its choices. False when all rows are done."""
        rows = self._rows
        counts = [len(row.pending) for row in rows]
        width = max(counts)
        ids = np.zeros((len(rows), width), np.int64)
        for index, row in enumerate(rows):
            ids[index, : counts[index]] = row.pending
        select = [index * width + at for index, row in enumerate(rows) for at in range(row.first, counts[index])]
        tokens, probabilities, fresh, attention = self._decoder.run(None, self._feed(ids, np.array(select, np.int64)))
        self._store(fresh)
        at = 0
        for index, row in enumerate(rows):
            end = at + counts[index] - row.first
            used = row.take(tokens[at:end].tolist(), [math.log(each) for each in probabilities[at:end].tolist()])
            if row.request.align:
                row.looks.append(attention[index, :, :used])
            self._lengths[index] += used
            at = end
        self._drop()
        return bool(self._rows)

    def _feed(self, ids: NDArray[np.int64], select: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        count, width = ids.shape
        self._reserve(int(self._lengths.max()) + width)
        position = self._lengths[:, None] + np.arange(width)
        slot = np.empty((count, HEADS, width, 3), np.int64)
        slot[..., 0] = np.arange(count)[:, None, None]
        slot[..., 1] = np.arange(HEADS)[:, None]
        slot[..., 2] = position[:, None]
        mask = _mask(np.arange(self._cache.shape[3]) <= position[:, :, None])
        feed = {"ids": ids, "position": position, "slot": slot, "mask": mask[:, None, :, None], "select": select}
        feed["cross_mask"] = self._cross_mask[:count]
        for layer in range(LAYERS):
            for offset, part in enumerate(("key", "value")):
                feed[f"{part}{layer}"] = self._cache[2 * layer + offset, :count]
                feed[f"cross_{part}{layer}"] = self._cross[2 * layer + offset, :count]
        return feed

    def _reserve(self, positions: int) -> None:
        missing = _ROOM * -(-positions // _ROOM) - self._cache.shape[3]
        if missing > 0:
            self._cache = np.pad(self._cache, ((0, 0), (0, 0), (0, 0), (0, missing), (0, 0)))

    def _store(self, fresh: NDArray[np.float32]) -> None:
        """Put the keys and values of one step, `[rows, 96, t, 36]`, behind each row's own length."""
        count, _, width, _ = fresh.shape
        fresh = fresh.reshape(count, 2 * LAYERS, HEADS, width, HEAD)
        for index, start in enumerate(self._lengths):
            self._cache[:, index, :, start : start + width] = fresh[index]

    def _drop(self) -> None:
        """Take out the rows that are done: the last row moves into the gap."""
        for index in reversed(range(len(self._rows))):
            if not self._rows[index].done:
                continue
            last = self._rows.pop()
            if index < len(self._rows):
                self._rows[index] = last
                for memory in (self._cache, self._cross):
                    memory[:, index] = memory[:, len(self._rows)]
                self._cross_mask[index] = self._cross_mask[len(self._rows)]
                self._lengths[index] = self._lengths[len(self._rows)]
        self._lengths = self._lengths[: len(self._rows)]


def _mask(seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What to add to a score: nothing where `seen`."""
    return np.where(seen, np.float32(0), _HIDDEN)
