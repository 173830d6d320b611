"""Resemblyzer's network as an ONNX graph: three LSTM layers over 1.6 s of sound, and a projection of the last state.

After Wan et al., "Generalized end-to-end loss for speaker verification" (arXiv:1710.10467). It knows the weights by the
names that torch's modules gave them, and nothing of audio.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from stream_server.engine.moonshine.builder import Builder

LAYERS: Final = 3
SMALLEST: Final = 1e-9
"""Length of a vector of zeros, as what silence may become."""

Weights = Mapping[str, NDArray[np.float32]]


def build_network(weights: Weights) -> bytes:
    """The graph: ``mels [windows, frames, bands]`` in, vectors of length 1 ``[windows, dimension]`` out.

    Raises:
        KeyError: there is a tensor missing.
    """
    builder = Builder(signed=False)
    value = builder.add("Transpose", "mels", perm=(1, 0, 2))
    for layer in range(LAYERS):
        value = _lstm(builder, weights, layer, value)
    last = builder.add("Gather", value, builder.constant(-1, np.int64), axis=0)
    weight, bias = weights["linear.weight"], weights["linear.bias"]
    projected = builder.add("Gemm", last, builder.constant(weight), builder.constant(bias), transB=1)
    positive = builder.add("Relu", projected)
    length = builder.add("ReduceL2", positive, builder.integers(-1), keepdims=1)
    builder.add("Div", positive, builder.add("Max", length, builder.constant(SMALLEST)), output="vectors")
    bands = weights["lstm.weight_ih_l0"].shape[1]
    return builder.model({"mels": (TensorProto.FLOAT, ["windows", "frames", bands])}, ["vectors"])


def _lstm(builder: Builder, weights: Weights, layer: int, value: str) -> str:
    """States ``[frames, windows, hidden]`` of one layer over ``value [frames, windows, inputs]``."""
    forward, recurrent = (weights[f"lstm.weight_{kind}_l{layer}"] for kind in ("ih", "hh"))
    biases = [weights[f"lstm.bias_{kind}_l{layer}"] for kind in ("ih", "hh")]
    bias = np.concatenate([_reordered(each) for each in biases])
    constants = (builder.constant(tensor[None]) for tensor in (_reordered(forward), _reordered(recurrent), bias))
    states = builder.add("LSTM", value, *constants, hidden_size=recurrent.shape[1])
    return builder.add("Squeeze", states, builder.integers(1))  # of the directions, of which there is one


def _reordered(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gates as ONNX orders them (input, output, forget, cell) of those of torch (input, forget, cell, output)."""
    entry, forget, cell, leave = np.split(tensor, 4)
    return np.concatenate([entry, leave, forget, cell])
