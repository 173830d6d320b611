"""The encoder on a card: products of matrices by torch, and everything between them by kernels of our own.

What it computes is what `fastconformer.encoder.Encoder` does with torch, with the same weights. What a chunk sees of
earlier frames is read where it lies in the state, and what is between two products is read and written once. Knows
nothing of how the state is written.

Shapes: B rows, C frames per chunk, H hidden size, n heads of d = H / n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from stream_server.engine.fastconformer.kernel.attention import attend
from stream_server.engine.fastconformer.kernel.convolution import convolve
from stream_server.engine.fastconformer.kernel.norm import add_and_norm, add_and_norm_twice
from stream_server.engine.fastconformer.kernel.subsampling import Extent, begin, depthwise

if TYPE_CHECKING:
    from stream_server.engine.fastconformer.attention import Attention
    from stream_server.engine.fastconformer.encoder import Convolution, Encoder, FeedForward, Layer
    from stream_server.engine.fastconformer.feature import Spectrum
    from stream_server.engine.fastconformer.state import Memory, Rows, State
    from stream_server.engine.fastconformer.subsampling import Stage, Subsampling

ALIGNMENT = 8
"""Elements. Matrices whose rows begin at multiples of 16 bytes are multiplied faster."""

TILE = 16
"""The smallest side of a product on a card."""


class FusedEncoder:
    """Called as an `Encoder` is. The weights are the encoder's, some of them in another order beside it.

    Raises:
        ValueError: the encoder is of a make that the kernels do not cover.
    """

    def __init__(self, encoder: Encoder) -> None:
        config = encoder.config
        if config.activation != "silu":
            raise ValueError(f"the activation is {config.activation}, not silu")
        if config.hidden % TILE:
            raise ValueError(f"the hidden size {config.hidden} is no multiple of {TILE}")
        chunks = [lookahead + 1 for lookahead in config.lookaheads]
        self._scale = encoder.scale
        self._subsampling = FusedSubsampling(encoder.subsampling)
        self._layers = cast("list[Layer]", list(encoder.layers))
        self.attention = [FusedAttention(layer.self_attn, chunks) for layer in self._layers]
        self.convolution = [FusedConvolution(layer.conv) for layer in self._layers]

    def __call__(self, spectrum: Spectrum, memory: Memory, rows: Rows, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Frames [B, C, H], and what `Update` calls attention and convolution."""
        hidden = self._subsampling(spectrum)
        hidden *= self._scale
        layers = self._layers
        seen, heard = (hidden.new_empty(len(layers), *hidden.shape) for _ in range(2))
        first = layers[0].norm_feed_forward1
        normed = functional.layer_norm(hidden, first.normalized_shape, first.weight, first.bias, first.eps)
        for index, layer in enumerate(layers):
            branch = _feed(layer.feed_forward1, normed)
            inputs = add_and_norm(hidden, branch, 0.5, layer.norm_self_att, out=seen[index])
            branch = self.attention[index](inputs, state.attention[index], memory, rows)
            normed = add_and_norm(hidden, branch, 1.0, layer.norm_conv)
            branch = self.convolution[index](normed, state.convolution[index], memory, rows, heard[index])
            normed = add_and_norm(hidden, branch, 1.0, layer.norm_feed_forward2)
            branch = _feed(layer.feed_forward2, normed)
            if index + 1 < len(layers):
                normed = add_and_norm_twice(hidden, branch, 0.5, layer.norm_out, layers[index + 1].norm_feed_forward1)
            else:
                normed = add_and_norm(hidden, branch, 0.5, layer.norm_out)
        return normed, seen, heard


class FusedSubsampling:
    """Channels last, where the torch path has the bins last; the channels of a place are mixed by a product."""

    def __init__(self, module: Subsampling) -> None:
        if len(module.layers) == 0:
            raise ValueError("the subsampling has one stage only")
        self._module = module
        self._stages = cast("list[Stage]", list(module.layers))
        channels, taps = module.conv_in.weight.shape[0], module.kernel**2
        dense = module.conv_in.weight.new_zeros(max(TILE, 1 << (taps - 1).bit_length()), channels)
        dense[:taps] = module.conv_in.weight.view(channels, taps).T
        self._dense = dense, cast("Tensor", module.conv_in.bias)
        convolutions = [stage.depthwise_conv for stage in self._stages]
        self._depthwise = [
            (each.weight.view(channels, taps).T.contiguous(), cast("Tensor", each.bias)) for each in convolutions
        ]
        weight = module.linear.weight
        by_bins = weight.view(-1, channels, module.bins).transpose(1, 2)
        self._weight = by_bins.reshape(weight.shape)

    def __call__(self, spectrum: Spectrum) -> Tensor:
        """[B, C, H]. Of frames behind the end of a segment no zeros are made: nothing of them is used."""
        module = self._module
        kernel, stride = module.kernel, module.stride
        extent = self._after(Extent(spectrum.start, spectrum.length, spectrum.mel.shape[2]))
        hidden = spectrum.mel
        for index, (stage, (taps, bias)) in enumerate(zip(self._stages, self._depthwise, strict=True)):
            if index == 0:
                bins = module.shorten(extent.bins)
                hidden = begin(hidden, *self._dense, extent, taps, bias, kernel, stride, bins)
            else:
                extent = self._after(extent)
                bins = module.shorten(extent.bins)
                hidden = depthwise(hidden, extent, taps, bias, kernel, stride, bins)
            hidden = functional.linear(hidden, stage.pointwise_conv.weight[:, :, 0, 0], stage.pointwise_conv.bias)
        return functional.linear(hidden.relu_().flatten(2), self._weight, module.linear.bias)

    def _after(self, extent: Extent) -> Extent:
        """Where the frames of the next stage lie."""
        module = self._module
        start = (extent.start + module.kernel - 1) // module.stride
        return Extent(start, module.shorten(extent.length), module.shorten(extent.bins))


class FusedAttention:
    """The term of a distance is the query's and one of the position alone, which is worked out here once for all."""

    def __init__(self, module: Attention, chunks: Sequence[int]) -> None:
        self._module = module
        # With zeros behind, so that the distances of a chunk can be filled up for alignment.
        relative = functional.pad(module.relative, (0, 0, 0, ALIGNMENT - 1))
        bias = module.position_bias.view(module.heads, 1, module.head_size).float()
        offsets = (relative.float() * bias).sum(dim=2).to(relative.dtype)
        self._of: dict[int, tuple[Tensor, Tensor]] = {}
        """By chunk size: [n, d, columns], and the part of the position alone, [n, columns]."""
        for chunk in chunks:
            begin = module.longest - chunk
            columns = -(-(module.left + 2 * chunk - 1) // ALIGNMENT) * ALIGNMENT
            distances = slice(begin, begin + columns)
            self._of[chunk] = relative[:, distances].transpose(1, 2), offsets[:, distances].contiguous()

    def __call__(self, inputs: Tensor, ring: Tensor, memory: Memory, rows: Rows) -> Tensor:
        """[B, C, H], already projected."""
        module = self._module
        heads, head_size = module.heads, module.head_size
        batch, chunk, size = inputs.shape
        frames = batch * chunk
        relative, offsets = self._of[chunk]
        query = functional.linear(inputs, module.q_proj.weight, module.content_bias)
        query = query.view(frames, heads, head_size).transpose(0, 1)
        positions = inputs.new_empty(batch, chunk, heads, relative.shape[2])
        _multiply(query, relative, positions)
        absorbed = inputs.new_empty(batch, chunk, heads, size)
        _multiply(query, module.k_proj.weight.view(heads, head_size, size), absorbed)
        mix = attend(absorbed, ring, rows.slot, inputs, positions, offsets, memory.count, rows.frames, head_size**-0.5)
        values = inputs.new_empty(batch, chunk, heads, head_size)
        weight = module.v_proj.weight.view(heads, head_size, size).transpose(1, 2)
        _multiply(mix.view(frames, heads, size).transpose(0, 1), weight, values)
        return functional.linear(values.view(batch, chunk, size), module.o_proj.weight, module.output_bias)


class FusedConvolution:
    """The taps lie with the channels side by side, as those of a frame do."""

    def __init__(self, module: Convolution) -> None:
        self._module = module
        self._taps = module.depthwise_conv.weight[:, 0].T.contiguous()

    def __call__(self, inputs: Tensor, ring: Tensor, memory: Memory, rows: Rows, fresh: Tensor) -> Tensor:
        """[B, C, H]. ``fresh`` [B, C, H] takes what the depthwise convolution saw of the chunk."""
        module = self._module
        first, depthwise, last = module.pointwise_conv1, module.depthwise_conv, module.pointwise_conv2
        gated = functional.linear(inputs, first.weight[:, :, 0], first.bias)
        mixed = convolve(gated, ring, rows.slot, memory.count, self._taps, depthwise.bias, module.norm, fresh)
        return functional.linear(mixed, last.weight[:, :, 0], last.bias)


def _feed(module: FeedForward, inputs: Tensor) -> Tensor:
    inner = functional.silu(functional.linear(inputs, module.linear1.weight, module.linear1.bias), inplace=True)
    return functional.linear(inner, module.linear2.weight, module.linear2.bias)


def _multiply(one: Tensor, other: Tensor, out: Tensor) -> None:
    """Products [n, B * C, any] of heads, written to where the next step wants them: [B, C, n, any]."""
    torch.bmm(one, other, out=out.flatten(0, 1).transpose(0, 1))
