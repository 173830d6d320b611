"""Models given as ONNX files: what fits, what does not, and what each hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from stream_server.speakers.community.feature import filter_bank
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.onnx_embedder import OnnxEmbedder

WAVEFORM = ["batch", "samples"]
BANDS = ["batch", "frames", 80]


def save(
    path: Path,
    shape: list[Any],
    nodes: list[onnx.NodeProto] | None = None,
    *,
    more: tuple[str, ...] = (),
    dtype: int = TensorProto.FLOAT,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A model whose first output is ``vector``: as it comes, the sums of two windows or the means of the bands."""
    if nodes is None:
        axis = 1
        nodes = (
            [helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0)]
            if len(shape) == 3
            else [
                helper.make_node("ReduceMax", ["x", "axes"], ["high"], keepdims=1),
                helper.make_node("ReduceMin", ["x", "axes"], ["low"], keepdims=1),
                helper.make_node("Concat", ["high", "low"], ["mean"], axis=axis),
            ]
        )
        nodes.append(helper.make_node("Identity", ["mean"], ["vector"]))
    graph = helper.make_graph(
        nodes,
        "speaker",
        [helper.make_tensor_value_info(name, dtype, shape) for name in ("x", *more)],
        [helper.make_empty_tensor_value_info("vector")],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def identity(source: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Identity", [source], ["vector"])]


def sound(seconds: float = 1.5) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(5).standard_normal(int(seconds * 16_000))).astype(np.float32)


def test_a_model_of_the_waveform_hears_it_as_it_is(tmp_path: Path) -> None:
    samples = sound()
    vector = OnnxEmbedder(save(tmp_path / "raw.onnx", WAVEFORM)).embed(samples)
    wanted = np.array([samples.max(), samples.min()])
    np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), rtol=1e-5)
    assert vector.dtype == np.float32


def test_a_model_of_bands_hears_them_without_their_mean(tmp_path: Path) -> None:
    """Of what has its mean taken away the mean is nothing, so this one takes the largest of each band."""
    nodes = [helper.make_node("ReduceMax", ["x", "axes"], ["vector"], keepdims=0)]
    samples = sound()
    bands = filter_bank(samples)
    wanted = bands.max(axis=0) - bands.mean(axis=0)
    vector = OnnxEmbedder(save(tmp_path / "bands.onnx", BANDS, nodes)).embed(samples)
    np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), rtol=1e-4)


def test_the_last_dimension_of_bands_may_be_left_open(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMax", ["x", "axes"], ["vector"], keepdims=0)]
    assert OnnxEmbedder(save(tmp_path / "open.onnx", ["b", "t", "d"], nodes)).embed(sound()).shape == (80,)


def test_the_name_is_the_files_and_of_what_is_in_it(tmp_path: Path) -> None:
    first = OnnxEmbedder(save(tmp_path / "campplus.onnx", WAVEFORM)).name
    again = OnnxEmbedder(save(tmp_path / "campplus.onnx", WAVEFORM)).name
    other = OnnxEmbedder(save(tmp_path / "campplus.onnx", WAVEFORM, metadata={"version": "2"})).name
    assert first == again
    assert first.startswith("campplus-")
    assert other.startswith("campplus-")
    assert other != first


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        (["b", 1, 1, "n"], {"nodes": identity("x")}, r"takes \[batch, samples\] or \[batch, frames, 80\]"),
        (["b", "t", 40], {}, r"it takes x \['b', 't', 40\] of tensor\(float\)"),
        (["b", 80, "t"], {}, "one length only"),
        (["b", 48_000], {}, "one length only"),
        (WAVEFORM, {"dtype": TensorProto.DOUBLE}, r"of tensor\(double\)"),
        (BANDS, {"more": ("weights",)}, "it takes x .*, weights "),
        (WAVEFORM, {"metadata": {"sample_rate": "8000"}}, "made for 8000 Hz; only 16000 Hz"),
        (BANDS, {"nodes": identity("x")}, r"no vector for a voice, but of shape \[98, 80\]"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_when_loaded(
    tmp_path: Path, shape: list[Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EmbedderError, match=reason):
        OnnxEmbedder(save(tmp_path / "odd.onnx", shape, **options))


def test_a_model_that_fails_on_some_lengths_is_refused_when_loaded(tmp_path: Path) -> None:
    """As exports do that have learnt the length of the recording they were made with."""
    nodes = [
        helper.make_node("Constant", [], ["size"], value_ints=[1, 16_000]),
        helper.make_node("Reshape", ["x", "size"], ["vector"]),
    ]
    with pytest.raises(EmbedderError, match=r"the speaker model stiff\.onnx has failed"):
        OnnxEmbedder(save(tmp_path / "stiff.onnx", WAVEFORM, nodes))


def test_what_is_no_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(EmbedderError, match=r"text\.onnx is no ONNX model that can be loaded"):
        OnnxEmbedder(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match=r"none\.onnx cannot be read: No such file"):
        OnnxEmbedder(tmp_path / "none.onnx")


def test_too_little_speech_and_silence_are_errors(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(save(tmp_path / "raw.onnx", WAVEFORM))
    with pytest.raises(EmbedderError, match="too short"):
        embedder.embed(sound(0.1))
    with pytest.raises(EmbedderError, match="no voice in this audio"):
        embedder.embed(np.zeros(16_000, np.float32))
