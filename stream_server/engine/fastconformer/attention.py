"""Attention of a chunk over itself and a ring of earlier frames, with relative positions, in absorbed form.

The ring holds the layer's normalized inputs, not keys and values: half the memory, and nothing to project again. The
projections of keys and values are applied to the queries and to the mix instead, as in the multi-head latent attention
of DeepSeek-V2 (arXiv:2405.04434). Relative positions are those of Transformer-XL (Dai et al. 2019, arXiv:1901.02860).
The parameters are named as in the checkpoint. Knows no slots: who owns the ring is the caller's business.

Shapes: B rows, C frames per chunk, H hidden size, n heads of d = H / n, left frames in the ring.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stream_server.engine.fastconformer.configuration import EncoderConfig

ALIGNMENT = 8
"""Elements. Matrices whose rows begin at multiples of 16 bytes are multiplied faster."""


@dataclass(frozen=True, slots=True)
class View:
    """What the frames of a chunk see, and how far it is: the same in all layers.

    Attributes:
        column: [B, C, n, keys] int64, for each key its distance as a column of ``positions``. Keys are the places of
            the ring in the order of the ring, then the frames of the chunk, each part padded for alignment.
        positions: [B * C, n, columns], where layers put their term of each distance; the last column is -inf, which is
            the distance of what must not be seen.
    """

    column: Tensor
    positions: Tensor

    @classmethod
    def of(cls, count: Tensor, frames: Tensor, chunk: int, config: EncoderConfig, dtype: torch.dtype) -> View:
        """The view of chunks of ``chunk`` frames, ``frames`` [B] of them valid, after ``count`` [B] frames."""
        device, batch, left, heads = count.device, count.shape[0], config.left, config.heads
        hidden_column = _aligned(left + 2 * chunk) - 1
        query = torch.arange(chunk, device=device)[:, None]
        # Frame n lies at n % left, so the ages of the places follow from the count: the newest is 1 frame old.
        place = torch.arange(_aligned(left), device=device)
        age = (count[:, None] - 1 - place) % left + 1
        # Chunks see whole chunks only, as in training.
        reach = count.clamp(max=left // chunk * chunk)
        seen = (age <= reach[:, None]) & (place < left)
        key = torch.arange(_aligned(chunk), device=device)
        # A row without a valid frame, of which nothing is used, sees one: a softmax over nothing is not a number.
        valid = key < frames.clamp(min=1)[:, None]
        column = torch.cat(
            (
                torch.where(seen[:, None], query + age[:, None] + (chunk - 1), hidden_column),
                torch.where(valid[:, None], query - key + (chunk - 1), hidden_column),
            ),
            dim=2,
        )
        positions = torch.full((batch * chunk, heads, hidden_column + 1), -torch.inf, dtype=dtype, device=device)
        return cls(column[:, :, None].expand(-1, -1, heads, -1), positions)


class Attention(nn.Module):
    """The attention of one layer. Call `prepare` once the weights are loaded."""

    content_bias: Tensor
    position_bias: Tensor
    relative: Tensor
    output_bias: Tensor | None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, bias = config.hidden, config.attention_bias
        self.heads, self.head_size, self.left = config.heads, size // config.heads, config.left
        self.longest = max(config.lookaheads) + 1
        self.q_proj = nn.Linear(size, size, bias=bias)
        self.k_proj = nn.Linear(size, size, bias=bias)
        self.v_proj = nn.Linear(size, size, bias=bias)
        self.o_proj = nn.Linear(size, size, bias=bias)
        self.relative_k_proj = nn.Linear(size, size, bias=False)
        self.bias_u = nn.Parameter(torch.zeros(self.heads, self.head_size))
        self.bias_v = nn.Parameter(torch.zeros(self.heads, self.head_size))

    def prepare(self) -> None:
        """Compute what follows from the weights: biases taken together, and the keys of all relative positions.

        The bias of the keys adds the same to all scores of a query and falls out of the softmax. The bias of the values
        goes through the mix unchanged, as the weights of a query sum to 1, and so into the bias of the output.
        """
        weight = self.q_proj.weight
        size, dtype, device = weight.shape[1], weight.dtype, weight.device
        content = self.bias_u.flatten().float()
        if self.q_proj.bias is not None:
            content = content + self.q_proj.bias.float()
        self.register_buffer("content_bias", content.to(dtype), persistent=False)
        self.register_buffer("position_bias", (self.bias_v - self.bias_u).flatten(), persistent=False)
        output = None
        if self.o_proj.bias is not None:
            output = (self.o_proj.weight.float() @ self.v_proj.bias.float() + self.o_proj.bias.float()).to(dtype)
        self.register_buffer("output_bias", output, persistent=False)
        distance = torch.arange(1 - self.longest, self.left + self.longest, device=device)
        rate = 10000.0 ** (-torch.arange(0, size, 2, device=device) / size)
        angle = distance[:, None] * rate
        encoded = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
        relative = encoded @ self.relative_k_proj.weight.float().T * self.head_size**-0.5
        relative = relative.view(-1, self.heads, self.head_size).transpose(0, 1).contiguous()
        self.register_buffer("relative", relative.to(dtype), persistent=False)

    def forward(self, inputs: Tensor, ring: Tensor, view: View) -> Tensor:
        """The mix of each frame, to be projected by ``o_proj.weight`` and ``output_bias``.

        Args:
            inputs: [B, C, H], normalized.
            ring: [B, left, H], the same of earlier frames.
            view: which of both is seen.

        Returns:
            [B, C, H].
        """
        batch, chunk, size = inputs.shape
        rows, heads, head_size, scale = batch * chunk, self.heads, self.head_size, self.head_size**-0.5
        near = _aligned(self.left)  # where the keys of the chunk begin

        query = nn.functional.linear(inputs, self.q_proj.weight, self.content_bias)
        position_query = query + self.position_bias
        distances = self.left + 2 * chunk - 1
        begin = self.longest - chunk
        torch.bmm(
            position_query.view(rows, heads, head_size).transpose(0, 1),
            self.relative[:, begin : begin + distances].transpose(1, 2),
            out=view.positions[:, :, :distances].transpose(0, 1),
        )
        scores = view.positions.view(batch, chunk, heads, -1).gather(3, view.column).view(batch, chunk * heads, -1)

        # Results are written where the next product wants them, as transposing by copying would cost as much again.
        absorbed = inputs.new_empty(rows, heads, size)
        torch.bmm(
            query.view(rows, heads, head_size).transpose(0, 1),
            self.k_proj.weight.view(heads, head_size, size),
            out=absorbed.transpose(0, 1),
        )
        absorbed = absorbed.view(batch, chunk * heads, size)
        scores[:, :, : self.left].baddbmm_(absorbed, ring.transpose(1, 2), alpha=scale)
        scores[:, :, near : near + chunk].baddbmm_(absorbed, inputs.transpose(1, 2), alpha=scale)
        weights = scores.softmax(dim=-1)  # sums in float32 whatever the type
        mix = torch.bmm(weights[:, :, : self.left], ring).baddbmm_(weights[:, :, near : near + chunk], inputs)

        values = inputs.new_empty(rows, heads, head_size)
        torch.bmm(
            mix.view(rows, heads, size).transpose(0, 1),
            self.v_proj.weight.view(heads, head_size, size).transpose(1, 2),
            out=values.transpose(0, 1),
        )
        return values.view(batch, chunk, size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
