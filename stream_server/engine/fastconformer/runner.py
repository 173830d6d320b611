"""Runs the transducer for many streams at once: chunks in, emitted labels out.

A step has fixed shapes: one chunk length, and a number of rows rounded up to a *bucket*, whose spare rows belong to the
scratch slot. On CUDA each is captured once, at start, as CUDA graphs (see `program.py`) and replayed from then on.
Nothing is allocated in between. It knows no text, no segments and no callers.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

from stream_server.engine.capture import Recorder
from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.keyterm import KeytermAutomaton, KeytermTable
from stream_server.engine.fastconformer.program import Chunk, Emission, Program
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.state import State
from stream_server.engine.fault import device_faults
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError

logger = logging.getLogger(__name__)

GROWTH = 4
"""From one bucket to the next. A step is hardly longer for a few rows more: the weights are read anyway."""


class Runner:
    """The model with its state and its programs, one for each chunk length and bucket. Used by one thread.

    ``buckets``: the batch sizes of each chunk length (in encoder frames), smallest first. ``graph_bytes``: device
    memory that captured programs have taken.
    """

    def __init__(
        self, model: FastConformer, state: State, keyterms: KeytermTable, settings: FastConformerSettings
    ) -> None:
        self.model = model
        self.state = state
        self.keyterms = keyterms
        self._settings = settings
        self._device = state.attention.device
        self._programs: dict[tuple[int, int], Program] = {}
        chunks = sorted(lookahead + 1 for lookahead in model.config.encoder.lookaheads)
        self.buckets = {frames: self._plan_buckets(frames) for frames in chunks}
        self.graph_bytes = 0

    def _plan_buckets(self, frames: int) -> list[int]:
        largest = max(1, min(self._settings.max_batch, self._settings.max_batch_frames // frames, self.state.slots))
        sizes, size = {1, largest}, largest // 2  # between the two largest steps the cost of spare rows is felt
        while size > 1:
            sizes.add(size)
            size //= GROWTH
        return sorted(sizes)

    def warm_up(self) -> None:
        """Build every program, the largest first, so that the smaller ones fit into the memory it has taken.

        A program whose capture goes beyond ``graph_bytes`` of the settings, or beyond what the device has, is left out:
        larger batches are then run in parts.

        Raises:
            DeviceMemoryError, DeviceLostError: not even the smallest can be built.
        """
        with self._at_work():
            self._build_all()
        logger.info("programs: %s; %.2f GB", self.buckets, self.graph_bytes / 1e9)

    def _build_all(self) -> None:
        recorder = Recorder(self._device) if self._device.type == "cuda" else None
        before, taken = self._reserved(), 0
        sizes = [(bucket * frames, frames, bucket) for frames, buckets in self.buckets.items() for bucket in buckets]
        for _, frames, bucket in sorted(sizes, reverse=True):
            last = self._reserved()
            program = self._build(frames, bucket, recorder)
            # What others have left behind is not held against it: all share it, so that nobody can give it back.
            grown = self._reserved() - last
            if program is None or (taken + grown > self._settings.graph_bytes and bucket > 1):
                logger.warning("steps of %d streams by %d frames are left out for lack of memory", bucket, frames)
                self.buckets[frames].remove(bucket)
                del program
                gc.collect()  # one that was given up half-way refers to itself
                if recorder is not None and not self._programs:
                    recorder.renew()
            else:
                self._programs[frames, bucket] = program
                taken += grown
        self.graph_bytes = self._reserved() - before

    def _build(self, frames: int, bucket: int, recorder: Recorder | None) -> Program | None:
        """A program, captured where there is something to capture for; None if the device has no memory for it."""
        try:
            with device_faults():
                program = Program(self.model, self.state, self.keyterms, frames, bucket, self._settings)
                if recorder is not None:
                    program.capture(recorder)
        except DeviceMemoryError:
            if bucket == 1:
                raise
            return None
        return program

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """What torch keeps for each thread: which card is meant, and that nothing is learned."""
        card = torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
        with card, torch.inference_mode():
            yield

    def _reserved(self) -> int:
        """Bytes of the device that torch cannot give back; 0 where nothing is captured."""
        if self._device.type != "cuda":
            return 0
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(self._device)

    def favour(self, slot: int, keyterms: KeytermAutomaton | None) -> None:
        """Give a slot these keyterms in place of those it has. Raises DeviceLostError."""
        with device_faults(), self._at_work():
            self.keyterms.write(slot, keyterms)

    def run(self, chunks: Sequence[Chunk], frames: int) -> list[Emission | Exception]:
        """Take one step for streams of one chunk length, ``frames`` encoder frames: at most one chunk of a stream.

        A batch beyond the largest bucket is run in parts. A part that fails has its error in place of its emissions:
        its streams may have changed, so it must not be run again.

        Raises:
            DeviceLostError: the device is at fault.
        """
        buckets = self.buckets[frames]
        emissions: list[Emission | Exception] = []
        with self._at_work():
            for start in range(0, len(chunks), buckets[-1]):
                part = chunks[start : start + buckets[-1]]
                bucket = next(size for size in buckets if size >= len(part))
                try:
                    with device_faults():
                        emissions += self._programs[frames, bucket].run(part)
                except DeviceMemoryError as error:  # nothing is allocated in a step, so nothing smaller would do
                    raise DeviceLostError(str(error)) from error
                except DeviceLostError:
                    raise
                except Exception as error:
                    logger.exception("a step of %d streams failed", len(part))
                    emissions += [error] * len(part)
        return emissions
