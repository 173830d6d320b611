"""Writes ONNX graphs: the building blocks that both halves of Moonshine are made of.

This module knows nothing of how the blocks are put together.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stream_server.engine.moonshine.architecture import EPSILON, POSITIONS, ROTATED, ROTATION_BASE
from stream_server.engine.moonshine.weight import Linear

MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators
_SMALLEST = 1e-9  # peak of a row of zeros
_OPSET, _FORMAT = 21, 10


class Builder:
    """Collects nodes and constants. Every method that adds a node returns the name of its output."""

    def __init__(self, *, signed: bool | None = None) -> None:
        """`signed` weights are faster than unsigned ones, and the same, where the processor multiplies them exactly:
        None finds out."""
        self._signed = signed_is_exact() if signed is None else signed
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._integers: dict[tuple[int, ...], str] = {}
        self._rotations: tuple[str, ...] = ()

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
        if not self._rotations:
            angles = np.arange(POSITIONS)[:, None] * ROTATION_BASE ** (-np.arange(0, ROTATED, 2) / ROTATED)
            self._rotations = self.constant(np.cos(angles)), self.constant(np.sin(angles))
        return self.add(
            "RotaryEmbedding",
            value,
            position,
            *self._rotations,
            domain=MICROSOFT,
            num_heads=heads,
            rotary_embedding_dim=ROTATED,
            interleaved=1,
        )

    def row_product(self, value: str, parts: Sequence[Linear], bias: NDArray[np.float32] | None = None) -> str:
        """Product of rows with several 8-bit matrices side by side, exact by row.

        Each row is quantized by its own peak, and the sums are of integers. So a row gets the same bits whatever the
        other rows are, and however many.
        """
        level, peak = self._level(value)
        step, middle = self.constant(1 / 127), self.constant(128, np.uint8)
        matrix, scales, zeros = self._matrix(*_side_by_side(parts))
        inputs = (self.add("QuantizeLinear", level, step, middle), matrix, step, scales, middle, zeros)
        product = self.add("Mul", self.add("MatMulIntegerToFloat", *inputs, domain=MICROSOFT), peak)
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def clip_product(
        self, value: str, parts: Sequence[Linear], bias: NDArray[np.float32] | None = None, *, level: bool = False
    ) -> str:
        """The same, quantized by the range of the whole of `value`, which is finer and faster, and right for one clip.

        `level` brings the rows to one peak first: for values whose rows differ much in size.
        """
        if not level:
            return self._dynamic_product(value, *_side_by_side(parts), bias)
        value, peak = self._level(value)
        product = self.add("Mul", self._dynamic_product(value, *_side_by_side(parts)), peak)
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def _level(self, value: str) -> tuple[str, str]:
        """Rows divided by their largest magnitude, and that magnitude."""
        peak = self.add("ReduceMax", self.add("Abs", value), self.integers(-1), keepdims=1)
        peak = self.add("Max", peak, self.constant(_SMALLEST))
        return self.add("Div", value, peak), peak

    def _matrix(self, matrix: NDArray[Any], scales: NDArray[Any], zeros: NDArray[Any]) -> tuple[str, str, str]:
        """Constants for `(matrix - zeros) * scales`, of unsigned bytes; scales and zeros are by column."""
        shift, dtype = (128, np.int8) if self._signed else (0, np.uint8)  # cancels out of matrix - zeros
        names = [self.constant(bytewise.astype(np.int16) - shift, dtype) for bytewise in (matrix, zeros)]
        return names[0], self.constant(scales), names[1]

    def _dynamic_product(
        self,
        value: str,
        matrix: NDArray[Any],
        scales: NDArray[Any],
        zeros: NDArray[Any],
        bias: NDArray[np.float32] | None = None,
    ) -> str:
        more = () if bias is None else (self.constant(bias),)
        return self.add("DynamicQuantizeMatMul", value, *self._matrix(matrix, scales, zeros), *more, domain=MICROSOFT)

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
        """The same in 8 bits; the kernel is quantized by output, and each window by its peak."""
        matrix = _flat(kernel)
        scales = np.abs(matrix).max(axis=0) / 127
        level, peak = self._level(self.windows(value, kernel.shape[2], stride))
        product = self._dynamic_product(level, np.round(matrix / scales) + 128, scales, np.full(len(scales), 128))
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


@cache
def signed_is_exact() -> bool:
    """Whether this processor multiplies unsigned by signed bytes exactly.

    x86 before VNNI (2019 or so) adds two such products in 16 bits and saturates; there, weights must be unsigned.
    """
    builder = Builder(signed=True)
    builder.add("Identity", builder.row_product("x", [Linear(np.full((64, 64), 255, np.uint8), 1.0, 128)]), output="y")
    model = builder.model({"x": (TensorProto.FLOAT, [1, 64])}, ["y"])
    (product,) = open_session(model).run(None, {"x": np.ones((1, 64), np.float32)})
    return bool(np.allclose(product, 64 * 127))


def open_session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU, whose threads sleep when there is nothing to do."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it keeps what the largest batch has ever needed, and is no faster here
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _side_by_side(parts: Sequence[Linear]) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
    """Several matrices as one, with the scale and the zero point of each column."""
    widths = [part.values.shape[1] for part in parts]
    scales = np.repeat([part.scale for part in parts], widths)
    zeros = np.repeat([part.zero_point for part in parts], widths)
    return np.concatenate([part.values for part in parts], axis=1), scales, zeros


def _flat(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A kernel `[outputs, inputs, size]` as the matrix that multiplies a window of rows."""
    return kernel.transpose(2, 1, 0).reshape(-1, len(kernel))
