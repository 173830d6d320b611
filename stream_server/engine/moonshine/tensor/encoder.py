"""The encoder of Moonshine in torch: clips of different length in one batch, cross-attention keys and values out.

Nothing here looks at the values of a tensor from the host, so that it can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from stream_server.engine.moonshine.architecture import CONVOLUTIONS, EPSILON, HEADS, LAYERS, POSITIONS
from stream_server.engine.moonshine.tensor.layer import PADDED_HEAD, Parameters, norm, rotate, rotations
from stream_server.engine.moonshine.weight import Weights

# Not cuDNN's, which plans anew for every shape.
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Encoder:
    """What lies behind a clip's own length does not touch its frames: the norm that spans a clip counts its own values
    only, and frames behind its end are not attended to. So a clip's result does not depend on its company.
    """

    def __init__(self, encoder: Weights, decoder: Weights, device: torch.device, dtype: torch.dtype) -> None:
        own, theirs = (Parameters(weights, device, dtype) for weights in (encoder, decoder))
        self._dtype = dtype
        # What meets the audio itself, and the norm behind it, stay in float32.
        self._conv1 = _flat(own.array("conv1.weight", torch.float32)), None
        self._group = (
            own.array("groupnorm.weight", torch.float32)[:, 0],
            own.array("groupnorm.bias", torch.float32)[:, 0],
        )
        self._conv2 = _flat(own.array("conv2.weight")), own.array("conv2.bias")
        self._conv3 = _flat(own.array("conv3.weight")), own.array("conv3.bias")
        self._layers = []
        for layer in range(LAYERS):
            name = f"layers.{layer}."
            self._layers.append(
                (
                    own.array(name + "input_layernorm.weight"),
                    own.heads(*(f"{name}self_attn.{part}_proj" for part in "qkv")),
                    own.from_heads(name + "self_attn.o_proj"),
                    own.array(name + "post_attention_layernorm.weight"),
                    own.linear(name + "mlp.fc1"),
                    own.linear(name + "mlp.fc2"),
                )
            )
        self._norm = own.array("layer_norm.weight")
        self._turns = rotations(POSITIONS, device)
        self._cross = theirs.heads(
            *(f"layers.{layer}.encoder_attn.{part}_proj" for layer in range(LAYERS) for part in "kv")
        )

    def cross(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """`audio [clips, samples]` float32, of which `lengths [clips]` are real -> `[12, clips, 8, frames, 40]`: for
        each of the six decoder layers, the keys and the values that layer attends to."""
        encoded = self.encode(audio, lengths)
        count, room, _ = encoded.shape
        cross = functional.linear(encoded, self._cross)
        return cross.view(count, room, 2 * LAYERS, HEADS, PADDED_HEAD).permute(2, 0, 3, 1, 4)

    def encode(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """The last layer's output, normed: `[clips, frames, 288]`."""
        value, frames = self._stem(audio, lengths)
        count, room, _ = value.shape
        seen = (torch.arange(room, device=audio.device) < frames[:, None])[:, None, None]
        turns = self._turns[:room, None, None]
        for norm1, qkv, out, norm2, fc1, fc2 in self._layers:
            parts = functional.linear(norm(value, norm1), qkv).view(count, room, 3, HEADS, PADDED_HEAD)
            queries, keys = rotate(parts[:, :, :2], turns).permute(2, 0, 3, 1, 4)
            values = parts[:, :, 2].transpose(1, 2)
            with sdpa_kernel(_ATTENTION):
                heard = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=1.0)
            value = value + functional.linear(heard.transpose(1, 2).flatten(2), out)
            inner = functional.gelu(functional.linear(norm(value, norm2), *fc1))
            value = value + functional.linear(inner, *fc2)
        return norm(value, self._norm)

    def _stem(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The three convolutions, as products over windows: `[clips, frames, 288]`, and how many frames are real."""
        (size1, stride1), (size2, stride2), (size3, stride3) = CONVOLUTIONS
        value = torch.tanh(functional.linear(audio.unfold(1, size1, stride1), *self._conv1))
        steps = (lengths - size1) // stride1 + 1
        value = self._group_norm(value, steps).to(self._dtype)
        value = functional.gelu(functional.linear(_windows(value, size2, stride2), *self._conv2))
        value = functional.gelu(functional.linear(_windows(value, size3, stride3), *self._conv3))
        steps = (steps - size2) // stride2 + 1
        return value, (steps - size3) // stride3 + 1

    def _group_norm(self, value: Tensor, steps: Tensor) -> Tensor:
        """A norm over the whole of each clip, `[clips, t, 288]`, of which `steps` are real."""
        weight, bias = self._group
        real = (torch.arange(value.shape[1], device=value.device) < steps[:, None])[..., None]
        total = (steps * value.shape[2])[:, None, None]
        mean = torch.where(real, value, 0).sum((1, 2), keepdim=True) / total
        spread = torch.where(real, value - mean, 0)
        variance = (spread * spread).sum((1, 2), keepdim=True) / total
        return spread * torch.rsqrt(variance + EPSILON) * weight + bias


def _windows(value: Tensor, size: int, stride: int) -> Tensor:
    """Runs of `size` rows of `[clips, t, w]`, every `stride` rows: `[clips, (t - size) // stride + 1, size * w]`."""
    return value.unfold(1, size, stride).transpose(2, 3).flatten(2)


def _flat(kernel: Tensor) -> Tensor:
    """A kernel `[outputs, inputs, size]` as the matrix that a window of rows is multiplied with."""
    return kernel.transpose(1, 2).flatten(1).contiguous()
