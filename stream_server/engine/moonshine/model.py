"""Moonshine on ONNX Runtime: clips of audio in, token hypotheses out, several clips to a step.

Greedy decoding only. Each clip is encoded by itself, without padding; the decoder runs all unfinished clips together,
with ragged lengths masked. The graphs are exact by row (see `graph.py`), so a clip's result does not depend, to the
last bit, on its company or on a draft. Text, words, partials and what is stable are not known here.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.builder import open_session, signed_is_exact
from stream_server.engine.moonshine.graph import HEAD, HEADS, LAYERS, build_decoder, build_encoder, count_frames
from stream_server.engine.moonshine.repetition import find_loop
from stream_server.engine.moonshine.tokenizer import END, START
from stream_server.engine.moonshine.weight import load_weights

SAMPLE_RATE = 16000
MINIMUM_SAMPLES = 4000
MAXIMUM_SAMPLES = 64 * SAMPLE_RATE
TOKENS_PER_SECOND = 6.5
MINIMUM_TOKENS = 6
_ROOM = 32  # the cache grows by so many positions
_HIDDEN = np.float32(-1e9)  # added to a score that must not count


@dataclass(frozen=True)
class Request:
    """One clip to decode.

    `audio` is 16 kHz mono, at most 64 s; below a quarter of a second it is padded with zeros. The output starts with
    `prefix` whatever the model thinks of it. `draft` is a guess of what follows: it is checked in one pass and kept as
    far as it equals the greedy choice, so it changes the cost and never the result. `align` asks for attention.
    """

    audio: NDArray[np.float32]
    prefix: tuple[int, ...] = ()
    draft: tuple[int, ...] = ()
    align: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """What was heard in one clip.

    `tokens` include the prefix, without start and end. `logprobs` has one natural logarithm per token; a forced token
    counts as certain (0.0), for the vocabulary is not evaluated there. `frames` is the number of encoder frames, 384
    samples apart. `attention`, where asked for, is `[2, tokens, frames]`: the weights of the head that points at the
    start of a word, while each token was chosen, and of the one that points at its end, after each token was read
    (zeros for a last token that was never read, because the hypothesis was cut there). `truncated`: the length cap was
    reached. `looped`: a repetition was cut back to one occurrence.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    frames: int
    attention: NDArray[np.float32] | None
    truncated: bool
    looped: bool


@dataclass(eq=False)
class _Row:
    """One clip being decoded."""

    request: Request
    cross: NDArray[np.float32]
    frames: int
    cap: int

    def __post_init__(self) -> None:
        prefix = self.request.prefix
        self.tokens = list(prefix)
        self.logprobs = [0.0] * len(prefix)
        self.attention: list[NDArray[np.float32]] = []
        self.truncated = self.looped = self.done = False
        self.pending = [START, *prefix, *self.request.draft[: max(0, self.cap - len(prefix) - 1)]]
        self.first = len(prefix)  # position among the pending from which on choices are wanted

    def take(self, choices: list[int], probabilities: list[float]) -> int:
        """Accept the choices made after each pending token from `first` on, up to the first that was not foreseen.

        Returns how many of the pending tokens stay in the cache.
        """
        used = self.first
        if len(self.tokens) >= self.cap:  # the prefix fills the clip
            self.truncated = self.done = True
            return used + 1
        for choice, probability in zip(choices, probabilities, strict=True):
            used += 1
            self._accept(choice, math.log(probability))
            if self.done or self.pending[used : used + 1] != [choice]:
                break
        self.pending, self.first = [choice], 0
        return used

    def _accept(self, token: int, logprob: float) -> None:
        if token == END:
            self.done = True
            return
        self.tokens.append(token)
        self.logprobs.append(logprob)
        keep = find_loop(self.tokens)
        if keep is not None:
            keep = max(keep, len(self.request.prefix))
            del self.tokens[keep:], self.logprobs[keep:]
            self.looped = self.done = True
        elif len(self.tokens) >= self.cap:
            self.truncated = self.done = True

    def hypothesis(self) -> Hypothesis:
        attention = None
        if self.request.align:
            looks = np.concatenate(self.attention, axis=1)[..., : self.frames]
            attention = np.zeros((2, len(self.tokens), self.frames), np.float32)
            attention[0] = looks[0, : len(self.tokens)]
            read = looks[1, 1 : len(self.tokens) + 1]
            attention[1, : len(read)] = read
        return Hypothesis(tuple(self.tokens), tuple(self.logprobs), self.frames, attention, self.truncated, self.looped)


class Model:
    """The loaded network. Nothing in it changes after construction."""

    def __init__(self, assets: Assets, *, threads: int = 1) -> None:
        """Read the weights and build both sessions. Raises WeightError if the files are not what they should be."""
        encoder, decoder = load_weights(assets.encoder), load_weights(assets.decoder)
        signed = signed_is_exact()
        self._encoder = open_session(build_encoder(encoder, decoder, signed=signed), 1)
        self._decoder = open_session(build_decoder(decoder, signed=signed), 1)
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

    def _decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        rows = [self._open(request) for request in requests]
        # Long clips first: the short ones, last, tend to finish first, and the batch shrinks from its end.
        running = _Batch(self._decoder, sorted(rows, key=lambda row: -row.frames)) if rows else None
        while running is not None and running.step():
            pass
        return [row.hypothesis() for row in rows]

    def _open(self, request: Request) -> _Row:
        audio = request.audio
        if audio.ndim != 1 or len(audio) > MAXIMUM_SAMPLES:
            raise ValueError(f"a clip is one channel of at most {MAXIMUM_SAMPLES} samples, not {audio.shape}")
        if not np.isfinite(audio).all():
            raise ValueError("a clip is of finite numbers")
        cap = max(MINIMUM_TOKENS, int(TOKENS_PER_SECOND * len(audio) / SAMPLE_RATE))
        audio = np.pad(audio, (0, max(0, MINIMUM_SAMPLES - len(audio))))
        (cross,) = self._encoder.run(None, {"audio": audio[None].astype(np.float32, copy=False)})
        return _Row(request, cross, count_frames(len(audio)), cap)


class _Batch:
    """The rows that run together, and the decoder's memory of them.

    Self-attention keys and values stand in a cache with room for some positions, each row filled from the left to its
    own length: what a rejected draft left behind is masked, and then overwritten. ONNX Runtime reads the arrays in
    place, so that nothing but the new positions is copied between steps.
    """

    def __init__(self, decoder: onnxruntime.InferenceSession, rows: list[_Row]) -> None:
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
            used = row.take(tokens[at:end].tolist(), probabilities[at:end].tolist())
            if row.request.align:
                row.attention.append(attention[index, :, :used])
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
