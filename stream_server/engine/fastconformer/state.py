"""What every stream remembers between two steps: one set of tensors for all, one slot for each stream.

Allocated once. A step gathers the memory of its rows, computes, and commits its updates at the very end, so a step that
fails has changed nothing. The slot after the last is scratch: rows that only fill up a batch, and frames that are not
valid, are written there. Knows lengths, not what the numbers mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_server.engine.fastconformer.configuration import FastConformerConfig
from stream_server.engine.fastconformer.geometry import Geometry


@dataclass(frozen=True, slots=True)
class Rows:
    """What a step must know about its B rows, on the device.

    Attributes:
        slot: [B] int64; rows that only fill up the batch name the scratch slot.
        first: [B] bool, the first chunk of a segment.
        reset: [B] bool, forget what was before: encoder and predictor begin anew.
        last: [B] bool, the last chunk of a segment.
        samples: [B] int64, valid samples of the chunk counted from its begin, the lead of a first chunk included.
        frames: [B] int64, valid frames among the C of the chunk.
        prompt: [B] int64, index of the language prompt; not read by models without.
    """

    slot: Tensor
    first: Tensor
    reset: Tensor
    last: Tensor
    samples: Tensor
    frames: Tensor
    prompt: Tensor


@dataclass(frozen=True, slots=True)
class Memory:
    """The small part of what the encoder remembers of B rows before a step; the large parts are gathered where used.

    Attributes:
        count: [B] int64, frames since the last reset.
        position: [B] int64, frames since the begin of the segment.
        tail: [B, tail_samples] float32, samples before the chunk.
    """

    count: Tensor
    position: Tensor
    tail: Tensor


@dataclass(frozen=True, slots=True)
class Update:
    """What a step has found for the encoder's memory of its B rows.

    Attributes:
        attention: [layers, B, C, hidden], attention inputs of the chunk.
        convolution: [layers, B, C, hidden], inputs of the depthwise convolutions.
        count, position, tail: see `Memory`; before this step the former two, after it the last.
    """

    attention: Tensor
    convolution: Tensor
    count: Tensor
    position: Tensor
    tail: Tensor


@dataclass(frozen=True, slots=True)
class State:
    """The memory of all streams. S = max_streams + 1 slots, the last of which is scratch.

    Attributes:
        attention: [layers, S, left, hidden], a ring of attention inputs: frame n since the reset lies at n % left.
        convolution: [layers, S, kernel - 1, hidden], a ring of inputs of the depthwise convolutions.
        count: [S] int64, frames since the reset.
        position: [S] int64, frames since the begin of the segment.
        tail: [S, tail_samples] float32.
        predictor: [2 * layers + 1, S, H]; hidden and cell of each layer of the predictor, and its output.
        node: [S] int64, place in the automaton of the stream's keyterms.
    """

    attention: Tensor
    convolution: Tensor
    count: Tensor
    position: Tensor
    tail: Tensor
    predictor: Tensor
    node: Tensor

    @classmethod
    def allocate(cls, config: FastConformerConfig, max_streams: int, device: torch.device, dtype: torch.dtype) -> State:
        """Make room for ``max_streams`` streams and the scratch slot; everything is zero.

        Raises:
            torch.OutOfMemoryError: the device has no room for them.
        """
        slots = max_streams + 1
        return cls(
            **{
                name: torch.zeros((*outer, slots, *inner), dtype=kind, device=device)
                for name, (outer, inner, kind) in _layout(config, dtype).items()
            }
        )

    @staticmethod
    def bytes_for(config: FastConformerConfig, dtype: torch.dtype) -> int:
        """Bytes of one stream's slot."""
        return sum(
            math.prod((*outer, *inner)) * kind.itemsize for outer, inner, kind in _layout(config, dtype).values()
        )

    @property
    def slots(self) -> int:
        """Number of streams there is room for."""
        return self.scratch

    @property
    def scratch(self) -> int:
        """Index of the scratch slot."""
        return self.count.shape[0] - 1

    @property
    def bytes_per_stream(self) -> int:
        """Bytes of one stream's slot."""
        tensors: list[Tensor] = [getattr(self, name) for name in self.__slots__]
        return sum(tensor.nbytes for tensor in tensors) // self.count.shape[0]

    def gather(self, rows: Rows) -> Memory:
        """What the encoder remembers of these rows: nothing where they begin anew."""
        going = ~rows.first
        return Memory(
            count=self.count.index_select(0, rows.slot) * ~rows.reset,
            position=self.position.index_select(0, rows.slot) * going,
            tail=self.tail.index_select(0, rows.slot) * going[:, None],
        )

    def gather_convolution(self, rows: Rows, count: Tensor, out: Tensor) -> None:
        """Put the convolutions' part of all layers into ``out`` [layers, B, kernel - 1, hidden], the oldest first.

        ``count`` is that of `Memory`; zeros stand for frames before the first.
        """
        ring = as_words(self.convolution)
        past = ring.shape[2]
        frame = count[:, None] - past + torch.arange(past, device=count.device)
        place = rows.slot[:, None] * past + frame % past
        found = ring.flatten(1, 2).index_select(1, place.view(-1)).view(ring.shape[0], -1, *ring.shape[2:])
        torch.mul(found, (frame >= 0)[:, :, None], out=as_words(out))

    def gather_ring(self, layer: int, rows: Rows) -> Tensor:
        """[B, left, hidden]: the attention ring of one layer, with whatever lies in its unused places."""
        # Indexing copies whole rows of a matrix where index_select takes their elements one by one.
        rings = self.attention[layer]
        return rings.flatten(1)[rows.slot].view(-1, *rings.shape[1:])

    def gather_predictor(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """``predictor`` [2 * layers + 1, B, H] and ``node`` [B] as they lie there: a reset is the caller's to heed."""
        return self.predictor.index_select(1, rows.slot), self.node.index_select(0, rows.slot)

    def commit(self, rows: Rows, update: Update) -> None:
        """Write what a step has found for the encoder's memory."""
        frame = torch.arange(update.attention.shape[2], device=rows.slot.device)
        for ring, fresh in ((self.attention, update.attention), (self.convolution, update.convolution)):
            length = ring.shape[2]
            # Of frames with the same place the last one stays.
            stays = (frame < rows.frames[:, None]) & (frame >= rows.frames[:, None] - length)
            slot = torch.where(stays, rows.slot[:, None], self.scratch)
            place = slot * length + (update.count[:, None] + frame) % length
            as_words(ring).flatten(1, 2).index_copy_(1, place.view(-1), as_words(fresh).flatten(1, 2))
        self.count.index_copy_(0, rows.slot, update.count + rows.frames)
        self.position.index_copy_(0, rows.slot, update.position + rows.frames)
        self.tail.index_copy_(0, rows.slot, update.tail)

    def commit_predictor(self, rows: Rows, predictor: Tensor, node: Tensor) -> None:
        """Write what `gather_predictor` reads."""
        self.predictor.index_copy_(1, rows.slot, predictor)
        self.node.index_copy_(0, rows.slot, node)


def as_words(values: Tensor) -> Tensor:
    """The same memory as int64, for copies by index: the kernels move one element at a time, whatever its size.

    As they are, where the last dimension is no whole number of words.
    """
    return values.view(torch.int64) if values.shape[-1] * values.itemsize % torch.int64.itemsize == 0 else values


_Layout = dict[str, tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]


def _layout(config: FastConformerConfig, dtype: torch.dtype) -> _Layout:
    """For each tensor its dimensions before and after that of the slots, and its type."""
    encoder, transducer = config.encoder, config.transducer
    geometry = Geometry.of(config.feature, encoder)
    return {
        "attention": ((encoder.layers,), (encoder.left, encoder.hidden), dtype),
        "convolution": ((encoder.layers,), (encoder.kernel - 1, encoder.hidden), dtype),
        "count": ((), (), torch.int64),
        "position": ((), (), torch.int64),
        "tail": ((), (geometry.tail_samples,), torch.float32),
        "predictor": ((2 * transducer.layers + 1,), (transducer.hidden,), dtype),
        "node": ((), (), torch.int64),
    }
