"""Writes ONNX graphs: the building blocks that both halves of Moonshine are made of.

Matrix products come in three kinds, which differ in how 8-bit activations are scaled: by runs of 32 values of a row
(exact by row, see `graph.py`), by the whole tensor, or by the whole tensor after bringing its rows to one level. This
module knows nothing of how the blocks are put together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from stream_server.engine.moonshine.weight import Linear

MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators
_ROTATED = 32  # of a head's 36 dimensions; the others carry no position
_POSITIONS = 4096  # rows of the rotation tables
_BLOCK = 32
EPSILON = 1e-5
_OPSET, _FORMAT = 21, 10


class Builder:
    """Collects nodes and constants. Every method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._integers: dict[tuple[int, ...], str] = {}
        angles = np.arange(_POSITIONS)[:, None] * 10000.0 ** (-np.arange(0, _ROTATED, 2) / _ROTATED)
        self._cos, self._sin = self.constant(np.cos(angles)), self.constant(np.sin(angles))

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        if values not in self._integers:
            self._integers[values] = self.constant(values, np.int64)
        return self._integers[values]

    def add(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def split(self, value: str, *sizes: int) -> list[str]:
        names = [f"n{len(self._nodes)}_{part}" for part in range(len(sizes))]
        self._nodes.append(helper.make_node("Split", [value, self.integers(*sizes)], names, axis=-1))
        return names

    def norm(self, value: str, weight: NDArray[np.float32]) -> str:
        return self.add("LayerNormalization", value, self.constant(weight), epsilon=EPSILON, axis=-1)

    def residual(self, value: str, change: str, weight: NDArray[np.float32]) -> tuple[str, str]:
        """The sum of the two, and its norm. (The fused operator for this is several times slower.)"""
        total = self.add("Add", value, change)
        return total, self.norm(total, weight)

    def rotate(self, value: str, position: str, heads: int) -> str:
        """Rotary embedding of `[b, t, heads * 36]` at `position [b, t]`."""
        inputs = (value, position, self._cos, self._sin)
        return self.add(
            "RotaryEmbedding",
            *inputs,
            domain=MICROSOFT,
            num_heads=heads,
            rotary_embedding_dim=_ROTATED,
            interleaved=1,
        )

    def row_product(self, value: str, parts: Sequence[Linear], bias: NDArray[np.float32] | None = None) -> str:
        """Product with several matrices side by side, exact by row."""
        matrix = np.concatenate([part.values for part in parts], axis=1)
        inputs, outputs = matrix.shape
        repeats = [part.values.shape[1] * inputs // _BLOCK for part in parts]
        names = [
            self.constant(matrix.T.reshape(outputs, inputs // _BLOCK, _BLOCK), np.uint8),
            self.constant(np.repeat([part.scale for part in parts], repeats)),
            self.constant(np.repeat([part.zero_point for part in parts], repeats), np.uint8),
        ]
        if bias is not None:
            names += ["", self.constant(bias)]
        sizes = {"K": inputs, "N": outputs, "bits": 8, "block_size": _BLOCK, "accuracy_level": 4}
        return self.add("MatMulNBits", value, *names, domain=MICROSOFT, **sizes)

    def tensor_product(self, value: str, parts: Sequence[Linear], bias: NDArray[np.float32] | None = None) -> str:
        """The same with one activation scale for the whole of `value`: the fastest, and right for a clip by itself."""
        matrix = np.concatenate([part.values for part in parts], axis=1)
        repeats = [part.values.shape[1] for part in parts]
        scales = np.repeat([part.scale for part in parts], repeats)
        zeros = np.repeat([part.zero_point for part in parts], repeats)
        return self._byte_product(value, matrix, scales, zeros, bias)

    def level_product(self, value: str, part: Linear, bias: NDArray[np.float32] | None = None) -> str:
        """The same with rows brought to one level first, for values whose rows differ much in size."""
        level, peak = self._level(value)
        product = self.add("Mul", self.tensor_product(level, [part]), peak)
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def _level(self, value: str) -> tuple[str, str]:
        """Rows divided by their largest magnitude, and that magnitude."""
        peak = self.add("ReduceMax", self.add("Abs", value), self.integers(-1), keepdims=1)
        peak = self.add("Max", peak, self.constant(1e-9))
        return self.add("Div", value, peak), peak

    def _byte_product(
        self,
        value: str,
        matrix: NDArray[Any],
        scales: NDArray[Any],
        zeros: NDArray[Any],
        bias: NDArray[Any] | None = None,
    ) -> str:
        """Dynamically quantized product with `(matrix - zeros) * scales`; the matrix is unsigned, scales by column."""
        # Signed weights take the processor's 8-bit dot product directly; the shift cancels out of matrix - zeros.
        names = [
            self.constant(matrix.astype(np.int16) - 128, np.int8),
            self.constant(scales),
            self.constant(zeros.astype(np.int16) - 128, np.int8),
        ]
        if bias is not None:
            names.append(self.constant(bias))
        return self.add("DynamicQuantizeMatMul", value, *names, domain=MICROSOFT)

    def windows(self, value: str, size: int, stride: int) -> str:
        """Runs of `size` rows of `[1, t, w]`, every `stride` rows, as `[1, (t - size) // stride + 1, size * w]`."""
        count = self.add("Sub", self.add("Shape", value, start=1, end=2), self.integers(size - 1))
        axis, step = self.integers(1), self.integers(stride)
        starts = [self.integers(at) for at in range(size)]
        parts = [self.add("Slice", value, start, self.add("Add", count, start), axis, step) for start in starts]
        return self.add("Concat", *parts, axis=2)

    def convolve(self, value: str, kernel: NDArray[np.float32], bias: NDArray[np.float32], stride: int) -> str:
        """A convolution over the rows of `[1, t, inputs]`; `kernel` is `[outputs, inputs, size]`. Then GELU."""
        matrix = self.constant(_flat(kernel))
        product = self.add("MatMul", self.windows(value, kernel.shape[2], stride), matrix)
        return self.add("BiasGelu", product, self.constant(bias), domain=MICROSOFT)

    def byte_convolve(self, value: str, kernel: NDArray[np.float32], bias: NDArray[np.float32], stride: int) -> str:
        """The same in 8 bits, quantizing the kernel by output and the values by window."""
        matrix = _flat(kernel)
        scales = np.abs(matrix).max(axis=0) / 127
        level, peak = self._level(self.windows(value, kernel.shape[2], stride))
        product = self._byte_product(level, np.round(matrix / scales) + 128, scales, np.full(len(scales), 128))
        return self.add("BiasGelu", self.add("Mul", product, peak), self.constant(bias), domain=MICROSOFT)

    def model(self, inputs: dict[str, Any], outputs: Sequence[str]) -> bytes:
        """The finished graph. `inputs` gives a type and a shape for each name."""
        graph = helper.make_graph(
            self._nodes,
            "moonshine",
            [helper.make_tensor_value_info(name, *info) for name, info in inputs.items()],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=_FORMAT).SerializeToString()
        return model


def _flat(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A kernel `[outputs, inputs, size]` as the matrix that multiplies a window of rows."""
    return kernel.transpose(2, 1, 0).reshape(-1, len(kernel))
