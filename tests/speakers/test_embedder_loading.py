"""Which model the settings mean, and with which threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_server.settings import Settings
from stream_server.speakers import loading
from stream_server.speakers.community.network import CommunityEmbedder
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.loading import load_embedder
from tests.speakers.test_embedder_onnx import WAVEFORM, save, sound


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings.load({}, data_dir=tmp_path, **values)


def test_the_embedded_model_is_the_default(tmp_path: Path) -> None:
    embedder = load_embedder(settings(tmp_path))
    assert (embedder.name, embedder.calibration) == (CommunityEmbedder.name, CommunityEmbedder.calibration)


def test_a_threshold_of_the_settings_wins(tmp_path: Path) -> None:
    path = save(tmp_path / "raw.onnx", WAVEFORM)
    own = load_embedder(settings(tmp_path, speaker_embedding=str(path)))
    other = load_embedder(settings(tmp_path, speaker_embedding=str(path), speaker_threshold=0.61))
    assert other.calibration.threshold == 0.61
    assert other.calibration.slope == own.calibration.slope
    assert other.calibration.confidence(0.61) == pytest.approx(0.5)
    assert other.name == own.name
    np.testing.assert_array_equal(other.embed(sound()), own.embed(sound()))


def test_resemblyzer_is_kept_with_the_servers_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(loading, "ResemblyzerEmbedder", asked.append)
    load_embedder(settings(tmp_path, speaker_embedding="resemblyzer"))
    assert asked == [tmp_path / "models"]


def test_switched_off_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="switched off"):
        load_embedder(settings(tmp_path, speaker_embedding="off"))


def test_a_folder_is_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the gpu extra is not installed")
    with pytest.raises(EmbedderError, match=r"has no config\.json"):
        load_embedder(settings(tmp_path, speaker_embedding=str(tmp_path), device="cpu"))


def test_a_checkpoint_on_a_device_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="unknown device 'tpu'"):
        load_embedder(settings(tmp_path, speaker_embedding=str(tmp_path), device="tpu"))


def test_a_checkpoint_without_the_extra_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "EMBEDDER_EXTRA", ("a_package_that_is_not_installed",))
    with pytest.raises(EmbedderError, match=r"pip install 'stream-server\[gpu\]'"):
        load_embedder(settings(tmp_path, speaker_embedding=str(tmp_path)))
