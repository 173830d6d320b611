"""Moonshine in torch: clips of audio in, token hypotheses out, many clips to a step. What a GPU runs.

Clips are padded to the few shapes of `bucket.py`, sorted by length so that little is padded, encoded in groups and
decoded together. On CUDA every pass of those shapes is a graph captured at the start; anything else runs as it comes.

float32 on the CPU. On CUDA float16: its 11 significant bits leave every text of a test set as float32 has it, where the
8 of bfloat16 change one in eight, and its range is no danger here (the largest activation on speech, clicks and noise
is 2,800). The audio's own convolution, softmax and the vocabulary stay in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_server.engine.fault import device_faults
from stream_server.engine.moonshine.architecture import count_frames
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.request import (
    MINIMUM_SAMPLES,
    Hypothesis,
    Request,
    Row,
    clip_of,
)
from stream_server.engine.moonshine.tensor.batch import Batch, record
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings, Shape, lengths, room_of, smallest
from stream_server.engine.moonshine.tensor.capture import Captures
from stream_server.engine.moonshine.tensor.decoder import Decoder, Memory
from stream_server.engine.moonshine.tensor.encoder import Encoder
from stream_server.engine.moonshine.weight import load_weights

_DTYPES = {"cpu": torch.float32, "cuda": torch.float16}


class TensorModel:
    """The loaded network on one device; a `request.Backend`."""

    def __init__(self, assets: Assets, settings: DeviceSettings, device: str) -> None:
        """Read the weights. Raises WeightError if the files are not what they should be, RuntimeError if torch cannot
        use the device."""
        self._settings = settings
        self._device = torch.device(device)
        self._dtype = _DTYPES[self._device.type]
        self.description = f"in torch ({self._device})"
        encoder, decoder = load_weights(assets.encoder), load_weights(assets.decoder)
        self._encoder = Encoder(encoder, decoder, self._device, self._dtype)
        self._decoder = Decoder(decoder, self._device, self._dtype)
        self._captures = Captures(self._device)
        self._held: dict[Shape, Memory] = {}

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """See `Backend`. A clip's result depends on its company only in the last bits of its probabilities."""
        with self._at_work():
            return self._decode_all(requests)

    def _decode_all(self, requests: Sequence[Request]) -> list[Hypothesis]:
        clips = [clip_of(request) for request in requests]
        order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
        parts = -(-len(order) // self._settings.clips[-1])
        found: dict[int, Hypothesis] = {}
        for part in range(parts):
            # Neighbours in length, in parts of equal size.
            chosen = order[part * len(order) // parts : (part + 1) * len(order) // parts]
            rows = [Row(requests[index], count_frames(len(clips[index]))) for index in chosen]
            found |= zip(chosen, self._decode(rows, [clips[index] for index in chosen]), strict=True)
        return [found[index] for index in range(len(requests))]

    def warm_up(self, longest: int, clips: int) -> None:
        """Take the memory and capture the graphs for clips of up to so many samples; then decode silence."""
        if self._device.type == "cuda":
            with self._at_work():
                self._capture([samples for samples in lengths(self._settings) if samples <= self._padded(longest)])
        self.decode([Request(np.zeros(longest, np.float32))])
        self.decode([Request(np.zeros(MINIMUM_SAMPLES, np.float32))] * clips)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """What torch keeps for each thread: which card is meant, and that nothing is learned; and names for faults."""
        card = torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
        with device_faults(), card, torch.inference_mode():
            yield

    def _capture(self, sizes: Sequence[int]) -> None:
        """Allocate and capture for clips of these lengths."""
        settings = self._settings
        for samples in sizes:
            for count in settings.encoded:
                audio, real = torch.zeros(count, samples), torch.full((count,), samples)
                self._captures.record(("encode", count, samples), self._encoder.cross, audio, real)
            shape = room_of(samples, settings)
            memory = self._held.get(shape) or self._allocate(settings.clips[-1], shape)
            self._held[shape] = memory
            for count in settings.clips:
                record(self._decoder, self._captures, settings, memory.part(count))

    def _decode(self, rows: Sequence[Row], clips: Sequence[NDArray[np.float32]]) -> list[Hypothesis]:
        """Rows and their clips, the longest first."""
        shape = room_of(self._padded(len(clips[0])), self._settings)
        widest = max(len(row.pending) for row in rows)
        shape = Shape(shape.frames, max(shape.tokens, widest))
        count = smallest(self._settings.clips, len(rows))
        memory = (self._held.get(shape) or self._allocate(count, shape)).part(count)
        memory.clear()
        memory.frames[: len(rows)] = torch.tensor([row.frames for row in rows])
        group = self._settings.encoded[-1]
        for first in range(0, len(clips), group):
            cross = self._encode(clips[first : first + group])
            memory.cross[:, first : first + cross.shape[1], :, : cross.shape[3]] = cross
        return Batch(self._decoder, self._captures, self._settings, memory, rows).run()

    def _encode(self, clips: Sequence[NDArray[np.float32]]) -> Tensor:
        count, samples = smallest(self._settings.encoded, len(clips)), self._padded(len(clips[0]))
        audio = torch.zeros(count, samples, pin_memory=self._device.type == "cuda")
        values = audio.numpy()
        for index, clip in enumerate(clips):
            values[index, : len(clip)] = clip
        real = torch.tensor([len(clip) for clip in clips] + [MINIMUM_SAMPLES] * (count - len(clips)))
        return self._captures.run(("encode", count, samples), self._encoder.cross, audio, real)[:, : len(clips)]

    def _padded(self, samples: int) -> int:
        return smallest(lengths(self._settings), samples)

    def _allocate(self, clips: int, shape: Shape) -> Memory:
        return Memory.allocate(clips, shape.frames, shape.tokens, self._device, self._dtype)
