"""Checkpoints with an x-vector head, as transformers saves them: tiny, with weights at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.hub import CheckpointError
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.hub_embedder import load_hub_embedder

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_stride": (20, 16),
    "conv_kernel": (40, 16),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": (12, 12, 12, 12, 20),
    "xvector_output_dim": 10,
    "num_labels": 3,
}
FAMILIES = {
    "wavlm": ("WavLMConfig", "WavLMForXVector"),
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForXVector"),
    "unispeech-sat": ("UniSpeechSatConfig", "UniSpeechSatForXVector"),
}


def make(folder: Path, family: str = "wav2vec2", *, seed: int = 0, rate: int = 16_000, head: str = "") -> Path:
    config, model = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = getattr(transformers, head or model)(getattr(transformers, config)(**SIZES))
    made.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=rate, do_normalize=True).save_pretrained(folder)
    return folder


def sound(seconds: float = 1.0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(5).standard_normal(int(seconds * 16_000))).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_voice_is_the_models_embedding_at_length_one(tmp_path: Path, family: str) -> None:
    folder = make(tmp_path / "tiny-sv", family)
    vector = load_hub_embedder(str(folder), "cpu").embed(sound())
    model = getattr(transformers, FAMILIES[family][1]).from_pretrained(folder).eval()
    level = (sound() - sound().mean()) / np.sqrt(sound().var() + 1e-7)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(level)[None]).embeddings[0].numpy()
    np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert vector.shape == (10,)


def test_the_name_tells_weights_apart(tmp_path: Path) -> None:
    names = [
        load_hub_embedder(str(make(tmp_path / f"at-{seed}" / "tiny-sv", seed=seed)), "cpu").name for seed in (1, 2)
    ]
    assert all(name.startswith("tiny-sv-") for name in names)
    assert names[0] != names[1]


def test_pickled_weights_do_too(tmp_path: Path) -> None:
    """Most published x-vector checkpoints have no others."""
    folder = make(tmp_path / "tiny-sv")
    before = load_hub_embedder(str(folder), "cpu").embed(sound())
    model = transformers.Wav2Vec2ForXVector.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    np.testing.assert_allclose(load_hub_embedder(str(folder), "cpu").embed(sound()), before, atol=1e-6)


def test_a_checkpoint_without_the_head_is_refused(tmp_path: Path) -> None:
    """transformers would make one up."""
    with pytest.raises(CheckpointError, match="tensors are missing"):
        load_hub_embedder(str(make(tmp_path, head="Wav2Vec2Model")), "cpu")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    transformers.WhisperConfig().save_pretrained(folder)
    with pytest.raises(CheckpointError, match="is no model that embeds voices, but a whisper"):
        load_hub_embedder(str(folder), "cpu")


def test_one_for_another_sample_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="made for 8000 Hz"):
        load_hub_embedder(str(make(tmp_path, rate=8000)), "cpu")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_that_lacks_something_is_refused(tmp_path: Path, file: str) -> None:
    (make(tmp_path) / file).unlink()
    with pytest.raises(CheckpointError, match=rf"has no {file}"):
        load_hub_embedder(str(tmp_path), "cpu")


def test_too_little_speech_is_an_error(tmp_path: Path) -> None:
    embedder = load_hub_embedder(str(make(tmp_path)), "cpu")
    with pytest.raises(EmbedderError, match=r"0\.10 s of speech are too short"):
        embedder.embed(sound(0.1))
