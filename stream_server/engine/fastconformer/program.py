"""One step of the transducer at fixed shapes, recorded as CUDA graphs where there is a card.

A step of a large model is a thousand small kernels, and launching them one by one takes longer than running them; a
graph launches all at once. What goes in is one copy to the device, what comes out is one copy back; only a batch in
which somebody speaks faster than a round of the search has room for is searched further, with a copy for each round.

It knows no text, no segments and no callers, and not how batches are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from stream_server.engine.capture import Recorder
from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.fastconformer.keyterm import KeytermTable
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.state import Rows, State
from stream_server.engine.fastconformer.transducer import GreedySearch, SearchState
from stream_server.engine.work import Audio

LOUDEST = 100.0
"""Samples beyond it are cut: full scale is 1, and what a number overflows into would stay in the state."""

_HEADER = 5  # integers of a row: slot, flags, frames, samples, prompt
_FIRST, _RESET, _LAST = 1, 2, 4


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """One stream's part of a step.

    ``audio``: its samples, finite, fewer than a whole chunk at both ends of a segment. ``first``, ``last``: whether it
    begins or ends a segment. ``reset``: whether what was heard before is to be forgotten. ``frames``: how many encoder
    frames it yields. ``prompt``: index of the language, for models that are told it. ``boosted``: whether the stream
    has keyterms.
    """

    slot: int
    audio: Audio
    first: bool
    reset: bool
    last: bool
    frames: int
    prompt: int = 0
    boosted: bool = False


@dataclass(frozen=True, slots=True)
class Emission:
    """Labels that a chunk brought: token, frame counted from the chunk's first, natural log-probability."""

    tokens: list[int]
    frames: list[int]
    logprobs: list[float]


NOTHING = Emission([], [], [])


class Program:
    """One step for ``bucket`` rows of ``frames`` encoder frames.

    Two parts, each recorded by itself: `_encode`, from samples to encoder output and the beginning of the search; and
    `_search`, one round of it, repeated until every row is done, with keyterms or without.
    """

    def __init__(
        self,
        model: FastConformer,
        state: State,
        keyterms: KeytermTable,
        frames: int,
        bucket: int,
        settings: FastConformerSettings,
    ) -> None:
        transducer = model.config.transducer
        self._model = model
        self._state = state
        self._keyterms = keyterms
        self._greedy = GreedySearch(model.decoder, model.joint, transducer)
        self._iterations = frames + max(3, math.ceil(settings.symbols_per_frame * frames))
        self._most_rounds = math.ceil(frames * (transducer.max_symbols + 1) / self._iterations)
        geometry = Geometry.of(model.config.feature, model.config.encoder)
        self._lead = geometry.lead_samples
        device = state.attention.device
        on_card = device.type == "cuda"
        samples = geometry.chunk_samples(frames)
        # Integers, by kind, and the samples of all rows behind them travel together: one copy in.
        split = _HEADER * bucket
        self._input = torch.zeros(split + bucket * samples, dtype=torch.int32, device=device)
        self._header = self._input[:split].view(_HEADER, bucket)
        self._audio = self._input[split:].view(torch.float32).view(bucket, samples)
        self._staging = torch.zeros_like(self._input, device="cpu", pin_memory=on_card)
        staging: NDArray[np.int32] = self._staging.numpy()
        self._numbers = staging[:split].reshape(_HEADER, bucket)
        self._samples = staging[split:].view(np.float32).reshape(bucket, samples)
        self._silence = np.zeros(samples, np.float32)
        self._output = torch.zeros(bucket, 1 + 3 * self._iterations, dtype=torch.int32, device=device)
        self._result = torch.zeros_like(self._output, device="cpu", pin_memory=on_card)
        # What one part hands to the next stands at fixed addresses.
        self._encoded = torch.zeros(
            bucket, frames, transducer.hidden, dtype=model.encoder_projector.weight.dtype, device=device
        )
        self._rows = self._unpack()
        self._cursor = model.begin(self._rows, state)
        self._run_encode: Callable[[], None] = self._encode
        self._run_search: dict[bool, Callable[[], None]] = {
            boosted: partial(self._search, boosted) for boosted in (False, True)
        }

    def capture(self, recorder: Recorder) -> None:
        """Record all parts as CUDA graphs. They run on spare rows, so no stream is touched."""
        self._fill([])
        self._input.copy_(self._staging)
        self._run_encode, _ = recorder.record(self._run_encode)
        self._run_search = {boosted: recorder.record(work)[0] for boosted, work in self._run_search.items()}

    def run(self, chunks: Sequence[Chunk]) -> list[Emission]:
        """The emissions of at most ``bucket`` chunks, in their order."""
        self._fill(chunks)
        self._input.copy_(self._staging, non_blocking=True)
        self._run_encode()
        search = self._run_search[any(chunk.boosted for chunk in chunks)]
        found = [NOTHING] * len(chunks)
        for _ in range(self._most_rounds):
            search()
            self._result.copy_(self._output)  # waits for the device
            result = self._result.numpy()[: len(chunks)]
            _collect(result[:, 1:], found)
            if not result[:, 0].any():
                break
        return found

    def _fill(self, chunks: Sequence[Chunk]) -> None:
        """Write the rows where they are copied from. Spare rows yield nothing, into the scratch slot."""
        used, size = len(chunks), self._samples.shape[1]
        self._numbers[:, used:] = [[self._state.scratch], [_FIRST | _RESET], [0], [0], [0]]
        if not chunks:
            return
        numbers: list[tuple[int, ...]] = []
        parts: list[Audio] = []
        for chunk in chunks:
            begin = self._lead if chunk.first else 0
            end = begin + len(chunk.audio)
            flags = _FIRST * chunk.first | _RESET * chunk.reset | _LAST * chunk.last
            numbers.append((chunk.slot, flags, chunk.frames, end, chunk.prompt))
            if begin:
                parts.append(self._silence[:begin])
            parts.append(chunk.audio)
            if end < size:
                parts.append(self._silence[end:])
        self._numbers[:, :used] = np.array(numbers).T
        np.concatenate(parts, out=self._samples[:used].reshape(-1))

    def _unpack(self) -> Rows:
        slot, flags, frames, samples, prompt = self._header.long().unbind(0)
        return Rows(
            slot=slot,
            first=(flags & _FIRST) != 0,
            reset=(flags & _RESET) != 0,
            last=(flags & _LAST) != 0,
            samples=samples,
            frames=frames,
            prompt=prompt,
        )

    def _encode(self) -> None:
        rows = self._unpack()
        audio = self._audio.clamp(-LOUDEST, LOUDEST)
        encoded, update = self._model.encode(audio, rows, self._state)
        cursor = self._model.begin(rows, self._state)
        self._model.commit(rows, update, self._state)
        self._encoded.copy_(encoded)
        for field in fields(rows):
            getattr(self._rows, field.name).copy_(getattr(rows, field.name))
        self._advance(cursor)

    def _search(self, boosted: bool) -> None:
        rows = self._rows
        keyterms = self._keyterms.rows(rows.slot) if boosted else None
        emissions, cursor = self._greedy(self._encoded, rows.frames, self._cursor, keyterms, self._iterations)
        self._advance(cursor)
        self._model.remember(rows, cursor, self._state)
        logprobs = emissions.logprobs.view(torch.int32)
        parts = [emissions.unfinished[:, None].int(), emissions.tokens, emissions.at, logprobs]
        torch.cat(parts, dim=1, out=self._output)

    def _advance(self, cursor: SearchState) -> None:
        """Keep where the search stands."""
        self._cursor.frame.copy_(cursor.frame)
        self._cursor.symbols.copy_(cursor.symbols)
        self._cursor.predictor.memory.copy_(cursor.predictor.memory)
        self._cursor.node.copy_(cursor.node)


def _collect(result: NDArray[np.int32], found: list[Emission]) -> None:
    """Add what one round has emitted to what was ``found``, row by row; most rows are silent in most steps."""
    tokens, at, bits = np.split(result, 3, axis=1)
    logprobs = np.ascontiguousarray(bits).view(np.float32)
    emitted = tokens >= 0
    for row in np.flatnonzero(emitted.any(axis=1)).tolist():
        where = np.flatnonzero(emitted[row])
        old = found[row]
        found[row] = Emission(
            old.tokens + tokens[row, where].tolist(),
            old.frames + at[row, where].tolist(),
            old.logprobs + logprobs[row, where].tolist(),
        )
