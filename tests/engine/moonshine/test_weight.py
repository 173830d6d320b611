from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.weight import Linear, WeightError, load_weights


def test_dequantizes_with_scale_and_zero_point() -> None:
    linear = Linear(np.array([[0, 128, 255]], np.uint8), 0.5, 128)
    np.testing.assert_array_equal(linear.dequantize(), [[-64, 0, 63.5]])


def test_every_matrix_of_both_halves_is_there(assets: Assets) -> None:
    encoder, decoder = load_weights(assets.encoder), load_weights(assets.decoder)
    assert len(encoder.linears) == 6 * 6
    assert len(decoder.linears) == 6 * 10 + 1
    assert decoder.linears["proj_out"].values.shape == (288, 32768)
    assert decoder.linears["layers.5.mlp.fc1"].values.shape == (288, 2304)
    assert encoder.arrays["conv2.weight"].shape == (576, 288, 7)
    assert encoder.arrays["groupnorm.bias"].shape == (288, 1)
    assert decoder.arrays["layers.0.mlp.fc2.bias"].shape == (288,)


def test_another_file_is_an_error(tmp_path: Path, assets: Assets) -> None:
    with pytest.raises(WeightError, match="not an ONNX Runtime model"):
        load_weights(assets.tokenizer)
    empty = tmp_path / "empty.ort"
    empty.touch()
    with pytest.raises(WeightError, match="not an ONNX Runtime model"):
        load_weights(empty)


def test_a_model_without_quantized_matrices_is_an_error(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "other", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "other.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(WeightError, match="no quantized matrices"):
        load_weights(tmp_path / "other.ort")
