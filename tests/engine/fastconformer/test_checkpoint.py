"""Weights from files into modules, and files that do not fit."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

import torch
import transformers
from safetensors.torch import load_file, save_file

from stream_server.engine.device import DeviceError
from stream_server.engine.fastconformer.checkpoint import load_into, load_weights
from stream_server.engine.hub import CheckpointError
from tests.support.checkpoint import make_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path


def small() -> torch.nn.Module:
    """Built without memory for its weights, as models are."""
    with torch.device("meta"):
        return torch.nn.ModuleDict(
            {"one": torch.nn.Linear(3, 2), "two": torch.nn.LSTM(3, 2), "norm": torch.nn.LayerNorm(2)}
        )


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.randn(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_tensor_is_read(saved: Path, dtype: torch.dtype) -> None:
    expected = load_file(saved / "model.safetensors")
    weights = load_weights(saved, "cpu", dtype)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name].to(dtype)) for name in expected)


def test_shards_equal_one_file(saved: Path, tmp_path: Path) -> None:
    model = transformers.NemotronAsrStreamingForRNNT.from_pretrained(saved)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    one, several = (load_weights(folder, "cpu", torch.float32) for folder in (saved, tmp_path))
    assert one.keys() == several.keys()
    assert all(torch.equal(one[name], several[name]) for name in one)


def test_the_files_may_change_afterwards(folder: Path) -> None:
    weights = load_weights(folder, "cpu", torch.float32)
    expected = {name: tensor.clone() for name, tensor in weights.items()}
    file = folder / "model.safetensors"
    with file.open("r+b") as stream:
        stream.write(bytes(file.stat().st_size))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_module_takes_the_weights_as_they_are() -> None:
    module = small()
    weights = weights_of(module)
    load_into(module, weights)
    assert all(tensor.data_ptr() == weights[name].data_ptr() for name, tensor in module.state_dict().items())
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    outputs, _ = module["two"](module["one"].weight)
    assert outputs.shape == (2, 2)


def test_what_does_not_fit_is_named_with_shapes() -> None:
    module = small()
    weights = weights_of(module)
    del weights["one.bias"]
    weights["three.weight"] = torch.zeros(1)
    weights["norm.weight"] = torch.zeros(7)
    with pytest.raises(CheckpointError) as caught:
        load_into(module, weights)
    message = str(caught.value)
    assert "1 missing: one.bias" in message
    assert "1 not known: three.weight" in message
    assert "norm.weight (expected 2, found 7)" in message


def test_only_some_of_many_are_named() -> None:
    with pytest.raises(CheckpointError) as caught:
        load_into(small(), {})
    assert "8 missing: one.weight, one.bias, two.weight_ih_l0, two.weight_hh_l0, ..." in str(caught.value)


def test_a_failed_load_changes_nothing() -> None:
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(CheckpointError):
        load_into(module, {"weight": torch.zeros(2, 3)})
    assert torch.equal(module.weight, before)


def test_a_truncated_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read; is it complete"):
        load_weights(folder, "cpu", torch.float32)


@pytest.mark.parametrize("content", [b"", b"no weights", bytes(1000), b"<html>" * 100])
def test_a_damaged_file(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(folder, "cpu", torch.float32)


def test_no_file_and_a_senseless_index(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(tmp_path, "cpu", torch.float32)
    for content in ("{", "{}", '{"weight_map": 3}', '{"weight_map": {"a": "model-9.safetensors"}}'):
        (tmp_path / "model.safetensors.index.json").write_text(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_weights(tmp_path, "cpu", torch.float32)


def test_no_room_on_the_device(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("stream_server.engine.fastconformer.checkpoint._converted", convert)
    with pytest.raises(DeviceError, match="do not fit into the free memory of cpu"):
        load_weights(saved, "cpu", torch.float32)


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    save_file({"one.weight": torch.zeros(2, 3, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"one\.weight is torch\.int8: quantized"):
        load_weights(tmp_path, "cpu", torch.float32)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_finite(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    broken = torch.zeros(2, 3)
    broken[1, 1] = value
    save_file(
        {"one.weight": torch.ones(2), "two.weight": broken, "none": torch.ones(0)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"two\.weight holds numbers that are not finite"):
        load_weights(tmp_path, "cpu", dtype)


def test_computed_tensors_are_left_out(tmp_path: Path) -> None:
    save_file(
        {
            "norm.weight": torch.zeros(2),
            "positions.inv_freq": torch.zeros(2),
            "norm.num_batches_tracked": torch.tensor(3),
        },
        tmp_path / "model.safetensors",
    )
    assert load_weights(tmp_path, "cpu", torch.float32).keys() == {"norm.weight"}


@pytest.mark.parametrize("family", ["nemotron_asr_streaming", "nemotron3_5_asr"])
def test_the_random_checkpoint_says_something(family: str, tmp_path: Path) -> None:
    """What other tests rely on: transformers loads it, and what comes out depends on the audio."""
    folder = make_checkpoint(tmp_path, family)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(1)
    said = []
    for _ in range(2):
        loudness = torch.rand(30, generator=generator).repeat_interleave(1600)
        audio = 0.1 * torch.randn(48_000, generator=generator) * loudness
        inputs = processor([audio.numpy()], sampling_rate=16_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = model.generate(**inputs, max_new_tokens=400)
        tokens = output.sequences[0] if hasattr(output, "sequences") else output[0]
        said.append([token for token in tokens.tolist() if token != model.config.blank_token_id])
    assert said[0] != said[1]
    for tokens in said:
        # 38 frames of at most 5 tokens
        assert 5 <= len(tokens) <= 150
        assert len(set(tokens)) >= 4
