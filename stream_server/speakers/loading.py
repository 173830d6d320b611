"""From the settings to the model that embeds voices: which one, and with which threshold. It opens no model itself.

What needs an extra is imported only where it is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.device import DeviceError, require_gpu_extra, resolve_device
from stream_server.engine.hub import CheckpointError
from stream_server.engine.moonshine.asset import AssetError
from stream_server.settings import Settings
from stream_server.speakers.ability import EMBEDDED, EMBEDDER_EXTRA, OFF, RESEMBLYZER
from stream_server.speakers.community.network import CommunityEmbedder
from stream_server.speakers.embedder import Calibration, Embedder, EmbedderError
from stream_server.speakers.onnx_embedder import OnnxEmbedder
from stream_server.speakers.resemblyzer.embedding import ResemblyzerEmbedder

MODELS: Final = "models"
"""Folder in ``data_dir`` of what is fetched once."""


def load_embedder(settings: Settings) -> Embedder:
    """The model that ``speaker_embedding`` names, with the threshold of ``speaker_threshold``. Takes a moment; minutes,
    where it has to be fetched first.

    Raises:
        EmbedderError: there is none, or it cannot be had or used; the message says what to do.
    """
    try:
        embedder = _load(settings)
    except (AssetError, CheckpointError, DeviceError) as error:
        raise EmbedderError(str(error)) from error
    if not settings.speaker_threshold:
        return embedder
    return _Recalibrated(embedder, replace(embedder.calibration, threshold=settings.speaker_threshold))


def models_folder(settings: Settings) -> Path:
    """Where what is fetched once is kept."""
    return settings.data_dir / MODELS


def _load(settings: Settings) -> Embedder:
    match settings.speaker_embedding:
        case value if value == OFF:
            raise EmbedderError("speaker identification is switched off on this server (speaker_embedding=off)")
        case value if value == EMBEDDED:
            return CommunityEmbedder()
        case value if value == RESEMBLYZER:
            return ResemblyzerEmbedder(models_folder(settings))
        case file if Path(file).suffix == ".onnx":
            return OnnxEmbedder(Path(file).expanduser())
        case name:
            require_gpu_extra(*EMBEDDER_EXTRA)
            from stream_server.speakers.hub_embedder import load_hub_embedder

            return load_hub_embedder(name, resolve_device(settings.device))


class _Recalibrated:
    """A model with another threshold than its own."""

    def __init__(self, embedder: Embedder, calibration: Calibration) -> None:
        self._embedder = embedder
        self.name = embedder.name
        self.calibration = calibration

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._embedder.embed(samples)
