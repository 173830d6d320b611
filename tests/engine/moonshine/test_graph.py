import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from stream_server.engine.moonshine.architecture import count_frames
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.builder import Builder, signed_is_exact
from stream_server.engine.moonshine.graph import FRAME_MULTIPLE, build_encoder
from stream_server.engine.moonshine.weight import Linear, load_weights


def run(builder: Builder, value: NDArray[np.float32]) -> NDArray[np.float32]:
    data = builder.model({"x": (TensorProto.FLOAT, ["b", "t", "w"])}, ["y"])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": value})[0])


def linear(inputs: int, outputs: int, seed: int) -> Linear:
    random = np.random.default_rng(seed)
    return Linear(random.integers(0, 256, (inputs, outputs)).astype(np.uint8), 0.01, 120 + seed)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("kind", ["row", "clip", "level"])
def test_products_agree_with_the_dequantized_matrices(kind: str, signed: bool) -> None:
    if signed and not signed_is_exact():
        pytest.skip("this processor does not multiply signed bytes exactly")
    value = np.random.default_rng(0).standard_normal((1, 12, 64)).astype(np.float32)
    parts = [linear(64, 32, 1), linear(64, 16, 2)]
    bias = np.arange(48, dtype=np.float32)
    builder = Builder(signed=signed)
    if kind == "row":
        output = builder.row_product("x", parts, bias)
    else:
        output = builder.clip_product("x", parts, bias, level=kind == "level")
    builder.add("Identity", output, output="y")
    expected = value @ np.concatenate([part.dequantize() for part in parts], axis=1) + bias
    assert np.abs(run(builder, value) - expected).max() < 0.02 * np.abs(expected - bias).max()


def test_signed_and_unsigned_weights_give_the_same_bits() -> None:
    value = np.random.default_rng(0).standard_normal((1, 5, 64)).astype(np.float32)
    outcomes = []
    for signed in (signed_is_exact(), False):
        builder = Builder(signed=signed)
        builder.add("Identity", builder.row_product("x", [linear(64, 32, 1), linear(64, 16, 2)]), output="y")
        outcomes.append(run(builder, value))
    np.testing.assert_array_equal(outcomes[0], outcomes[1])


def test_a_row_of_zeros_stays_zero() -> None:
    builder = Builder(signed=False)
    builder.add("Identity", builder.row_product("x", [linear(64, 32, 1)]), output="y")
    assert not run(builder, np.zeros((1, 2, 64), np.float32)).any()


def test_a_row_gets_the_same_bits_in_any_company() -> None:
    value = np.random.default_rng(0).standard_normal((1, 33, 288)).astype(np.float32)
    builder = Builder(signed=False)
    builder.add("Identity", builder.row_product("x", [linear(288, 288, 1)]), output="y")
    together = run(builder, value)
    for count in (1, 2, 7, 16):
        np.testing.assert_array_equal(run(builder, value[:, :count]), together[:, :count])


def test_convolution_by_windows() -> None:
    random = np.random.default_rng(0)
    value = random.standard_normal((1, 29, 8)).astype(np.float32)
    kernel = random.standard_normal((5, 8, 7)).astype(np.float32)
    bias = random.standard_normal(5).astype(np.float32)
    builder = Builder(signed=False)
    builder.add("Identity", builder.windows("x", 7, 3), output="y")
    windows = run(builder, value)[0]
    expected = [np.einsum("oik,ki->o", kernel, value[0, at : at + 7]) for at in range(0, 23, 3)]
    np.testing.assert_allclose(windows @ kernel.transpose(2, 1, 0).reshape(-1, 5), expected, atol=1e-5)
    exact, bytewise = Builder(signed=False), Builder(signed=False)
    exact.add("Identity", exact.convolve("x", kernel, bias, 3), output="y")
    bytewise.add("Identity", bytewise.byte_convolve("x", kernel, bias, 3), output="y")
    assert np.abs(run(exact, value) - run(bytewise, value)).max() < 0.3


def test_frames_are_counted_right_and_padded(assets: Assets) -> None:
    session = onnxruntime.InferenceSession(
        build_encoder(load_weights(assets.encoder), load_weights(assets.decoder), Builder(signed=False)),
        providers=["CPUExecutionProvider"],
    )
    assert count_frames(894) == 0
    for samples in (895, 4000, 4479, 16000, 16383):
        (cross,) = session.run(None, {"audio": np.zeros((1, samples), np.float32)})
        frames = count_frames(samples)
        assert cross.shape[:2] == (12, 8)
        assert cross.shape[2] == -(-frames // FRAME_MULTIPLE) * FRAME_MULTIPLE
        assert not cross[:, :, frames:].any() or np.abs(cross[:, :, frames:]).max() < 1e-3
