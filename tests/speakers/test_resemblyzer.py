"""The encoder against what it was trained with: torch's LSTM, and the mel spectrogram of librosa."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_server.engine.moonshine.builder import open_session
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.resemblyzer import asset, embedding
from stream_server.speakers.resemblyzer.embedding import ResemblyzerEmbedder, window_count
from stream_server.speakers.resemblyzer.feature import mel_spectrogram
from stream_server.speakers.resemblyzer.network import build_network

HIDDEN = 8


def noise(seconds: float, level: float = 0.1) -> NDArray[np.float32]:
    """Louder and quieter in turn, so that windows differ."""
    count = int(seconds * 16_000)
    swell = 1 + np.sin(np.arange(count) / 5000)
    return np.asarray(level * swell * np.random.default_rng(1).standard_normal(count), np.float32)


@pytest.fixture
def encoder() -> Any:
    """A small one of torch's, with weights at random."""
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(40, HIDDEN, 3, batch_first=True)
            self.linear = torch.nn.Linear(HIDDEN, 6)

        def forward(self, mels: Any) -> Any:
            _, (hidden, _) = self.lstm(mels)
            vectors = torch.relu(self.linear(hidden[-1]))
            return vectors / vectors.norm(dim=1, keepdim=True)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = Encoder()
        torch.nn.init.uniform_(encoder.linear.bias, 0.1, 0.5)
    return encoder.requires_grad_(False)


@pytest.fixture
def folder(encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the small encoder is kept, as if it had been published."""
    import torch

    file = io.BytesIO()
    torch.save({"model_state": encoder.state_dict()}, file, _use_new_zipfile_serialization=False)
    (tmp_path / asset.FILE).write_bytes(file.getvalue())
    monkeypatch.setattr(asset, "SHA256", hashlib.sha256(file.getvalue()).hexdigest())
    return tmp_path


def test_the_graph_is_what_torch_computes(encoder: Any) -> None:
    import torch

    mels = np.random.default_rng(0).random((5, 160, 40), np.float32)
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    (vectors,) = open_session(build_network(weights)).run(None, {"mels": mels})
    np.testing.assert_allclose(vectors, encoder(torch.from_numpy(mels)).numpy(), atol=1e-5)
    assert np.ptp(vectors, axis=0).max() > 0.01  # the windows are told apart at all


def test_a_vector_of_zeros_stays_one(encoder: Any) -> None:
    weights = {name: np.zeros_like(tensor.numpy()) for name, tensor in encoder.state_dict().items()}
    (vectors,) = open_session(build_network(weights)).run(None, {"mels": np.ones((1, 160, 40), np.float32)})
    assert not vectors.any()


@pytest.mark.parametrize("count", [0, 1, 399, 400, 16_000, 20_001])
def test_the_spectrogram_is_librosas(count: int) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils", reason="the gpu extra is not installed")
    samples = noise(2)[:count]
    filters = audio_utils.mel_filter_bank(201, 40, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    window = audio_utils.window_function(400, "hann")
    found = mel_spectrogram(samples)
    assert found.shape == (1 + count // 160, 40)
    if count:
        wanted = audio_utils.spectrogram(
            samples.astype(np.float64), window, 400, 160, power=2.0, pad_mode="constant", mel_filters=filters
        ).T
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [(0.25, 1), (1.0, 1), (1.6, 1), (1.9, 1), (1.98, 2), (2.4, 2), (2.8, 3), (5.0, 5), (60.0, 77)],
)
def test_windows_cover_what_is_said(seconds: float, count: int) -> None:
    assert window_count(int(seconds * 16_000)) == count


@pytest.mark.parametrize("seconds", [0.3, 1.6, 3.3, 70.0])
def test_a_voice_is_the_mean_of_its_windows(encoder: Any, folder: Path, seconds: float) -> None:
    import torch

    samples = noise(seconds)
    count = window_count(len(samples))
    mel = mel_spectrogram(np.pad(samples, (0, 3 * 16_000)))
    windows = np.stack([mel[start : start + 160] for start in range(0, 77 * count, 77)])
    mean = encoder(torch.from_numpy(windows)).numpy().mean(axis=0)
    vector = ResemblyzerEmbedder(folder).embed(samples)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert vector.dtype == np.float32
    assert math.isclose(float(np.linalg.norm(vector)), 1, rel_tol=1e-6)


def test_long_speech_goes_through_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder, samples = ResemblyzerEmbedder(folder), noise(10)
    whole = embedder.embed(samples)
    monkeypatch.setattr(embedding, "MOST", 3)
    np.testing.assert_allclose(embedder.embed(samples), whole, atol=1e-6)


def test_quiet_speech_is_raised_and_loud_speech_is_not(folder: Path) -> None:
    embedder = ResemblyzerEmbedder(folder)
    quiet, quieter, loud, louder = (embedder.embed(noise(3, level)) for level in (0.02, 0.002, 0.3, 0.6))
    np.testing.assert_allclose(quiet, quieter, atol=1e-4)
    assert np.abs(loud - louder).max() > 1e-3


def test_too_little_speech_is_an_error(folder: Path) -> None:
    with pytest.raises(EmbedderError, match=r"0\.20 s of speech are too short"):
        ResemblyzerEmbedder(folder).embed(noise(0.2))


def test_weights_that_cannot_be_read_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / asset.FILE).write_bytes(b"no pickle")
    monkeypatch.setattr(asset, "SHA256", hashlib.sha256(b"no pickle").hexdigest())
    with pytest.raises(EmbedderError, match=r"resemblyzer-0\.1\.4\.pt cannot be read: damaged"):
        ResemblyzerEmbedder(tmp_path)


def test_the_name_tells_vectors_of_other_weights_apart() -> None:
    assert ResemblyzerEmbedder.name == "resemblyzer-0.1.4-39373b86"
