"""The decoder of Moonshine in torch: passes over new positions of a batch of clips, and greedy steps on the device.

Nothing here looks at the values of a tensor from the host, so that it can be captured in a CUDA graph. Which tokens are
wanted, and when a clip is done, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stream_server.engine.moonshine.architecture import END_HEAD, HEADS, LAYERS, POSITIONS, START_HEAD
from stream_server.engine.moonshine.tensor.layer import PADDED_HEAD, Parameters, norm, rotate, rotations
from stream_server.engine.moonshine.weight import Weights

POINTERS = (START_HEAD, END_HEAD)
_CHOICES = 1024  # positions whose whole vocabulary is held at once


@dataclass(frozen=True, eq=False)
class Memory:
    """What the decoder remembers of a batch of clips; written in place.

    `cross [12, clips, 8, frames, 40]`: keys and values of the encoder (six layers, keys before values), of which the
    first `frames [clips]` are real. `cache [12, clips, 8, room, 40]`: keys and values of the tokens read so far, each
    clip's from the left. `looks [clips, 2, room, frames]` float32: where START_HEAD and END_HEAD looked as a position
    was read.
    """

    cross: Tensor
    frames: Tensor
    cache: Tensor
    looks: Tensor

    @classmethod
    def allocate(cls, clips: int, frames: int, room: int, device: torch.device, dtype: torch.dtype) -> Memory:
        return cls(
            torch.zeros(2 * LAYERS, clips, HEADS, frames, PADDED_HEAD, device=device, dtype=dtype),
            torch.ones(clips, device=device, dtype=torch.int64),
            torch.zeros(2 * LAYERS, clips, HEADS, room, PADDED_HEAD, device=device, dtype=dtype),
            torch.zeros(clips, len(POINTERS), room, frames, device=device),
        )

    @property
    def clips(self) -> int:
        return len(self.frames)

    @property
    def room(self) -> int:
        return self.cache.shape[3]

    def part(self, clips: int) -> Memory:
        """That of the first clips."""
        return Memory(self.cross[:, :clips], self.frames[:clips], self.cache[:, :clips], self.looks[:clips])

    def clear(self) -> None:
        """Forget everything. What is masked is still multiplied by zero, so that it must be finite."""
        self.cross.zero_()
        self.cache.zero_()
        self.frames.fill_(1)

    def move(self, origins: Tensor, targets: Tensor) -> None:
        """Put the clips at `origins` where `targets` says; both `[n]`, without common members."""
        self.cross[:, targets] = self.cross[:, origins]
        self.cache[:, targets] = self.cache[:, origins]
        self.frames[targets] = self.frames[origins]
        self.looks[targets] = self.looks[origins]


class Decoder:
    """The six layers and the vocabulary."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        own = Parameters(weights, device, dtype)
        # The vocabulary stays in float32: near the top it is close, and one product per token costs little.
        self._vocabulary = own.matrix("proj_out", torch.float32)
        self._embedding = own.matrix("proj_out")
        self._turns = rotations(POSITIONS, device)
        self._layers = []
        for layer in range(LAYERS):
            name = f"layers.{layer}."
            self._layers.append(
                (
                    own.array(name + "input_layernorm.weight"),
                    own.heads(*(f"{name}self_attn.{part}_proj" for part in "qkv")),
                    own.from_heads(name + "self_attn.o_proj"),
                    own.array(name + "post_attention_layernorm.weight"),
                    own.heads(name + "encoder_attn.q_proj"),
                    own.from_heads(name + "encoder_attn.o_proj"),
                    own.array(name + "final_layernorm.weight"),
                    own.linear(name + "mlp.fc1"),
                    own.linear(name + "mlp.fc2"),
                )
            )
        self._norm = own.array("norm.weight")

    def read(self, ids: Tensor, start: Tensor, memory: Memory) -> Tensor:
        """Read `ids [clips, t]` at positions `start [clips]` and on; returns what their successors are chosen by,
        `[clips, t, 288]`."""
        count, width = ids.shape
        room, frames = memory.looks.shape[2:]
        device = ids.device
        position = start[:, None] + torch.arange(width, device=device)
        seen = (torch.arange(room, device=device) <= position[..., None])[:, None]
        heard = (torch.arange(frames, device=device) < memory.frames[:, None])[:, None, None]
        turns = self._turns[position][:, :, None, None]
        rows = torch.arange(count, device=device)[:, None]
        slot = rows[..., None], torch.arange(HEADS, device=device)[:, None], position[:, None]
        value = self._embedding[ids]
        for layer, (norm1, qkv, out1, norm2, query, out2, norm3, fc1, fc2) in enumerate(self._layers):
            parts = functional.linear(norm(value, norm1), qkv).view(count, width, 3, HEADS, PADDED_HEAD)
            queries, fresh = rotate(parts[:, :, :2], turns).permute(2, 0, 3, 1, 4)
            keys, values = memory.cache[2 * layer], memory.cache[2 * layer + 1]
            keys.index_put_(slot, fresh)
            values.index_put_(slot, parts[:, :, 2].transpose(1, 2))
            value = value + functional.linear(_attend(queries, keys, values, seen)[0], out1)
            queries = (
                functional.linear(norm(value, norm2), query).view(count, width, HEADS, PADDED_HEAD).transpose(1, 2)
            )
            mixed, weights = _attend(queries, memory.cross[2 * layer], memory.cross[2 * layer + 1], heard)
            for pointer, (where, head) in enumerate(POINTERS):
                if layer == where:
                    memory.looks[:, pointer].index_put_((rows, position), weights[:, head])
            value = value + functional.linear(mixed, out2)
            inner, gate = functional.linear(norm(value, norm3), *fc1).chunk(2, dim=-1)
            value = value + functional.linear(functional.silu(gate) * inner, *fc2)
        return norm(value, self._norm)

    def choose(self, hidden: Tensor) -> Tensor:
        """The most probable successors for `hidden [n, 288]`, and their natural log-probabilities: `[2, n]` float32,
        which holds every token exactly."""
        chosen = [self._choose(part) for part in torch.split(hidden, _CHOICES)]
        return torch.cat([torch.stack((token.float(), logprob)) for token, logprob in chosen], dim=1)

    def greedy(self, token: Tensor, start: Tensor, memory: Memory, steps: int) -> Tensor:
        """Read `token [clips]` at `start [clips]`, choose its successor, read that, and so on: the choices and their
        log-probabilities, `[2, clips, steps]` float32."""
        chosen = []
        for step in range(steps):
            token, logprob = self._choose(self.read(token[:, None], start + step, memory)[:, 0])
            chosen.append(torch.stack((token.float(), logprob)))
        return torch.stack(chosen, dim=2)

    def logits(self, hidden: Tensor) -> Tensor:
        """`[n, 32768]` float32."""
        return functional.linear(hidden.float(), self._vocabulary)

    def _choose(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logits(hidden)
        best, token = logits.max(dim=-1)
        return token, best - logits.logsumexp(dim=-1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of `[clips, 8, t, 40]`: the outcome `[clips, t, 320]`, and the weights in float32."""
    scores = (queries @ keys.transpose(2, 3)).masked_fill(~seen, -torch.inf)
    weights = scores.softmax(dim=-1, dtype=torch.float32)
    return (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2), weights
