"""Weights of Moonshine as arrays, read out of the two `.ort` files of the moonshine-voice wheel.

An `.ort` file is a flatbuffer, and ONNX Runtime ships the classes that parse it. The names in it are those an exporter
left; this module turns them into the model's own module paths, such as `layers.0.self_attn.q_proj`. It does not know
what the network computes.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {1: np.float32, 2: np.uint8}  # ONNX element types; the integer constants of the export are not wanted


class WeightError(Exception):
    """A file is not the model it should be."""


@dataclass(frozen=True)
class Linear:
    """An 8-bit weight matrix: `(values - zero_point) * scale`, where `values` is `[inputs, outputs] uint8`."""

    values: NDArray[np.uint8]
    scale: float
    zero_point: int

    def dequantize(self) -> NDArray[np.float32]:
        """The matrix as `[inputs, outputs] float32`."""
        return (self.values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@dataclass(frozen=True)
class Weights:
    """One half of the model: matrices by module path, and vectors and kernels by parameter name."""

    linears: dict[str, Linear]
    arrays: dict[str, NDArray[np.float32]]


def load_weights(path: Path) -> Weights:
    """Read an `.ort` file. Raises WeightError if it holds no quantized matrix, so is not what the wheel carried."""
    data = path.read_bytes()
    schema = _schema()
    if not schema.InferenceSessionBufferHasIdentifier(data, 0):
        raise WeightError(f"{path} is not an ONNX Runtime model")
    tensors: dict[str, NDArray[Any]] = {}
    linears: dict[str, Linear] = {}
    arrays: dict[str, NDArray[np.float32]] = {}
    for graph in _graphs(schema.GetRootAs(data, 0).Model().Graph()):
        for index in range(graph.InitializersLength()):
            tensor = graph.Initializers(index)
            if tensor.DataType() in _DTYPES:
                name = _parameter(tensor.Name().decode())
                tensors[name] = arrays[name] = _array(tensor)
        for index in range(graph.NodesLength()):
            node = graph.Nodes(index)
            name = node.Name().decode().lstrip("/")
            if name.endswith("/MatMul_quant"):
                linears[_module(name)] = _linear(tensors, node.Inputs(1).decode())
            elif name in ("groupnorm/Mul", "groupnorm/Add"):  # a group norm the exporter took apart
                arrays["groupnorm." + ("weight" if name.endswith("Mul") else "bias")] = tensors[node.Inputs(1).decode()]
    if not linears:
        raise WeightError(f"{path} holds no quantized matrices: another model, or another version of it")
    return Weights(linears, arrays)


def _schema() -> Any:
    """The class of ONNX Runtime that parses its file format.

    Found by its path: the package around it imports torch where that is installed, which takes a second and 200 MB.
    """
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    folder = str(Path(found.origin).parent / "tools" / "ort_format_model")
    sys.path.append(folder)
    try:
        return importlib.import_module("ort_flatbuffers_py.fbs.InferenceSession").InferenceSession
    finally:
        sys.path.remove(folder)


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its nodes (the decoder keeps its two branches in an If node)."""
    yield graph
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        if node.OpType() == b"If":
            for number in range(node.AttributesLength()):
                yield from _graphs(node.Attributes(number).G())


def _array(tensor: Any) -> NDArray[Any]:
    shape = [tensor.Dims(index) for index in range(tensor.DimsLength())]
    dtype = _DTYPES[tensor.DataType()]
    if tensor.RawDataLength() == 0:
        return np.zeros(shape, dtype)
    raw: NDArray[np.uint8] = tensor.RawDataAsNumpy()
    return raw.view(dtype).reshape(shape)


def _linear(tensors: dict[str, NDArray[Any]], name: str) -> Linear:
    stem = _parameter(name).removesuffix("_quantized")
    values, scale, zero = (tensors[stem + suffix] for suffix in ("_quantized", "_scale", "_zero_point"))
    return Linear(values, float(scale), int(zero))


def _module(node: str) -> str:
    return node.removesuffix("/MatMul_quant").removeprefix("model/decoder/").replace("/", ".")


def _parameter(name: str) -> str:
    """`model.decoder.norm.weight_merged_0` is `norm.weight`; kernels carry another suffix."""
    for suffix in ("_quantized", "_scale", "_zero_point", ""):
        if name.endswith(suffix):
            stem = name.removesuffix(suffix) if suffix else name
            break
    stem = stem.removeprefix("model.decoder.").removesuffix("_merged_0").removesuffix("_add_tensor")
    return stem + suffix
