"""The configuration of a checkpoint, as transformers saves it and as it should not be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.fastconformer.activation import ACTIVATIONS as FUNCTIONS
from stream_server.engine.fastconformer.configuration import (
    ACTIVATIONS,
    EncoderConfig,
    FeatureConfig,
    PromptConfig,
    TransducerConfig,
    read_config,
)
from stream_server.engine.hub import CheckpointError
from tests.support.checkpoint import LANGUAGES, make_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "nemotron3_5_asr")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    for file in saved.glob("*.json"):
        shutil.copy(file, tmp_path)
    return tmp_path


def edit(file: Path, **changes: Any) -> None:
    """Replace values, ``section__key`` for one in a section; ... takes one out."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for path, value in changes.items():
        *sections, key = path.split("__")
        target = content
        for section in sections:
            target = target[section]
        if value is ...:
            del target[key]
        else:
            target[key] = value
    file.write_text(json.dumps(content), encoding="utf-8")


def test_everything_is_read(saved: Path) -> None:
    config = read_config(saved)
    assert config.model_type == "nemotron3_5_asr"
    assert config.feature == FeatureConfig(
        sample_rate=16_000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        mel_bins=16,
        preemphasis=0.97,
        mel_dtype="float32",
    )
    assert config.encoder == EncoderConfig(
        hidden=32,
        layers=2,
        heads=4,
        intermediate=48,
        kernel=9,
        left=29,
        lookaheads=(13, 6, 1, 0),
        default_lookahead=13,
        mel_bins=16,
        subsampling_factor=8,
        subsampling_channels=8,
        subsampling_kernel=3,
        subsampling_stride=2,
        scale_input=True,
        attention_bias=True,
        convolution_bias=True,
        activation="silu",
    )
    size = config.transducer.vocabulary
    assert config.transducer == TransducerConfig(
        vocabulary=size, hidden=24, layers=2, blank=size - 1, max_symbols=5, activation="relu"
    )
    assert config.prompt == PromptConfig(count=4, intermediate=40, default=3, dictionary=LANGUAGES)


def test_the_plain_architecture_has_no_prompt(tmp_path: Path) -> None:
    config = read_config(
        make_checkpoint(
            tmp_path,
            lookaheads=(3, 0),
            feature={"mel_filters_dtype": "bfloat16", "preemphasis": None},
            encoder={"attention_bias": False, "convolution_bias": False, "scale_input": False, "sliding_window": 71},
            hidden_act="tanh",
        )
    )
    assert config.prompt is None
    assert (config.feature.mel_dtype, config.feature.preemphasis) == ("bfloat16", 0.0)
    assert (config.encoder.lookaheads, config.encoder.default_lookahead, config.encoder.left) == ((3, 0), 3, 70)
    assert not config.encoder.attention_bias
    assert not config.encoder.convolution_bias
    assert not config.encoder.scale_input
    assert config.transducer.activation == "tanh"


def test_the_feature_extractor_may_have_its_own_file(folder: Path) -> None:
    expected = read_config(folder)
    processor = json.loads((folder / "processor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(processor["feature_extractor"]))
    edit(folder / "processor_config.json", feature_extractor=...)
    assert read_config(folder) == expected


def test_what_older_checkpoints_do_not_say(folder: Path) -> None:
    edit(
        folder / "processor_config.json",
        feature_extractor__mel_filters_dtype=...,
        supported_num_lookahead_tokens=...,
        default_num_lookahead_tokens=...,
    )
    config = read_config(folder)
    assert config.feature.mel_dtype == "float32"
    assert (config.encoder.lookaheads, config.encoder.default_lookahead) == ((13, 6, 1, 0), 13)
    edit(folder / "config.json", encoder_config__supported_num_lookahead_tokens=[6, 0])
    assert read_config(folder).encoder.lookaheads == (6, 0)


def test_another_architecture_is_named(folder: Path) -> None:
    edit(folder / "config.json", model_type="whisper")
    with pytest.raises(CheckpointError, match=r"'whisper' model; .*nemotron_asr_streaming and nemotron3_5_asr"):
        read_config(folder)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json"])
def test_missing_and_damaged_files(folder: Path, name: str) -> None:
    (folder / name).write_text("{ no")
    with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
        read_config(folder)
    (folder / name).write_text("[]")
    with pytest.raises(CheckpointError, match=f"{name} must hold a JSON object"):
        read_config(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        read_config(folder)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"vocab_size": ...}, "vocab_size must be of type int, found None"),
        ("config.json", {"vocab_size": "many"}, "vocab_size must be of type int, found 'many'"),
        ("config.json", {"max_symbols_per_step": True}, "found True"),
        ("config.json", {"max_symbols_per_step": 10**6}, "max_symbols is 1000000, more than 64"),
        ("config.json", {"max_symbols_per_step": 65}, "max_symbols is 65"),
        ("config.json", {"max_symbols_per_step": 0}, "max_symbols is 0"),
        ("config.json", {"num_decoder_layers": 10**9}, "layers is 1000000000, more than"),
        ("config.json", {"encoder_config__num_hidden_layers": 10**9}, "layers is 1000000000, more than"),
        ("config.json", {"encoder_config__sliding_window": 10**9}, "left is 999999999, more than"),
        (
            "config.json",
            {"encoder_config__subsampling_factor": 2**40},
            "subsampling_factor is 1099511627776, more than",
        ),
        ("processor_config.json", {"feature_extractor__n_fft": 2**30}, "n_fft is 1073741824, more than"),
        ("config.json", {"encoder_config": None}, "encoder_config must be an object"),
        ("config.json", {"model_type": ["nemotron3_5_asr"]}, "this engine runs"),
        ("config.json", {"encoder_config__num_attention_heads": 5}, "divide by 5 heads"),
        ("config.json", {"encoder_config__num_attention_heads": 0}, "heads is 0"),
        ("config.json", {"encoder_config__num_hidden_layers": 0}, "layers is 0"),
        ("config.json", {"encoder_config__sliding_window": 14}, "13 frames of left context do not hold a chunk of 14"),
        ("config.json", {"encoder_config__subsampling_factor": 6}, "subsampling by 6"),
        ("config.json", {"encoder_config__subsampling_conv_stride": 4}, "stride 4"),
        ("config.json", {"encoder_config__subsampling_conv_kernel_size": 1}, "skips frames"),
        ("config.json", {"encoder_config__num_mel_bins": 80}, "16 mel bins, the encoder takes 80"),
        ("config.json", {"encoder_config__hidden_act": "mish"}, "activation 'mish'"),
        ("config.json", {"hidden_act": "mish"}, "activation 'mish'"),
        ("config.json", {"blank_token_id": 4096}, "blank 4096"),
        ("config.json", {"default_prompt_id": 4}, "prompt 4"),
        ("processor_config.json", {"prompt_dictionary": ...}, "prompt_dictionary must be an object"),
        ("processor_config.json", {"prompt_dictionary__en": 99}, "prompt 99"),
        ("processor_config.json", {"prompt_dictionary__en": "one"}, "en must be of type int"),
        ("processor_config.json", {"supported_num_lookahead_tokens": []}, "must list integers"),
        ("processor_config.json", {"supported_num_lookahead_tokens": [-1, 13]}, "must not be negative"),
        ("processor_config.json", {"default_num_lookahead_tokens": 5}, "default lookahead 5"),
        ("processor_config.json", {"feature_extractor__sampling_rate": 8000}, "8000 Hz"),
        ("processor_config.json", {"feature_extractor__hop_length": 500}, "must not decrease"),
        ("processor_config.json", {"feature_extractor__mel_filters_dtype": "int8"}, "int8"),
    ],
)
def test_what_cannot_be_right(folder: Path, file: str, changes: dict[str, Any], message: str) -> None:
    edit(folder / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_config(folder)


def test_every_activation_has_a_function() -> None:
    assert tuple(FUNCTIONS) == ACTIVATIONS
