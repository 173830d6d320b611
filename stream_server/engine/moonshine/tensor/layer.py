"""What encoder and decoder are made of in torch: weights in the shape that a device likes, norm and rotation.

Heads of 36 are padded with zeros to 40, since matrix units want rows of whole 16 bytes; nothing else changes by it. The
scale of attention stands in the query projections.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stream_server.engine.moonshine.architecture import EPSILON, HEAD, HEADS, ROTATED, ROTATION_BASE, WIDTH
from stream_server.engine.moonshine.weight import Weights

PADDED_HEAD = -(-HEAD // 8) * 8
_MORE = PADDED_HEAD - HEAD


class Parameters:
    """One half of the weights, dequantized, as tensors: matrices are `[outputs, inputs]`."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self._weights = weights
        self._device = device
        self._dtype = dtype

    def array(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        return self._tensor(np.array(self._weights.arrays[name]), dtype)

    def matrix(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        return self._tensor(self._weights.linears[name].dequantize().T.copy(), dtype)

    def linear(self, name: str) -> tuple[Tensor, Tensor]:
        """A matrix and its bias."""
        return self.matrix(name), self.array(name + ".bias")

    def heads(self, *names: str) -> Tensor:
        """Projections to heads, side by side, `[names * 8 * 40, 288]`; those of queries are scaled."""
        parts = []
        for name in names:
            matrix = self.matrix(name, torch.float32) * (HEAD**-0.5 if name.endswith("q_proj") else 1)
            parts.append(functional.pad(matrix.view(HEADS, HEAD, WIDTH), (0, 0, 0, _MORE)).flatten(0, 1))
        return torch.cat(parts).to(self._dtype)

    def from_heads(self, name: str) -> Tensor:
        """The projection of all heads' outcome, `[288, 8 * 40]`."""
        return functional.pad(self.matrix(name).view(WIDTH, HEADS, HEAD), (0, _MORE)).flatten(1)

    def _tensor(self, values: np.ndarray, dtype: torch.dtype | None) -> Tensor:
        return torch.from_numpy(values).to(self._device, dtype or self._dtype)


def norm(value: Tensor, weight: Tensor) -> Tensor:
    """Layer norm without a bias."""
    return functional.layer_norm(value, weight.shape, weight, eps=EPSILON)


def rotations(positions: int, device: torch.device) -> Tensor:
    """Rotary embedding of positions from 0 as complex numbers, `[positions, 20]` (RoFormer, arXiv:2104.09864).

    Neighbouring dimensions of a head are a pair; the pairs behind the first 16 are not turned.
    """
    pairs = torch.arange(0, ROTATED, 2, device=device, dtype=torch.float64)
    angles = torch.arange(positions, device=device)[:, None] * ROTATION_BASE ** (-pairs / ROTATED)
    angles = functional.pad(angles, (0, (PADDED_HEAD - ROTATED) // 2))
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(value: Tensor, turns: Tensor) -> Tensor:
    """`[..., 40]` turned by `turns [..., 20]`."""
    pairs = torch.view_as_complex(value.float().reshape(*value.shape[:-1], PADDED_HEAD // 2, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).to(value.dtype)
