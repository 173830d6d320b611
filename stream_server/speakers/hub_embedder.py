"""Models of the Hugging Face hub that turn a voice into a vector: WavLM, UniSpeech-SAT, wav2vec 2.0 and their like with
an x-vector head, run by transformers. Needs the gpu extra.

Nothing outside the folder is read, and no code that lies in it is run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MODEL_FOR_AUDIO_XVECTOR_MAPPING, AutoModelForAudioXVector

from stream_server.engine.hub import CONFIG, PATTERNS, CheckpointError, find_checkpoint, missing_files
from stream_server.engine.transformers.checkpoint import load_extractor, load_weights, read_config
from stream_server.speakers.embedder import Calibration, EmbedderError
from stream_server.speakers.vector import SAMPLE_RATE, require_length, unit

EXTRACTOR: Final = "preprocessor_config.json"
PICKLED: Final = "pytorch_model.bin"
"""Most of these checkpoints have no other weights. transformers has torch read tensors from it, never code."""


class HubEmbedder:
    """See `Embedder`. May be used by several threads, which take turns."""

    calibration = Calibration(threshold=0.86, slope=30.0)
    """The threshold that the card of microsoft/wavlm-base-plus-sv gives; ``speaker_threshold`` is for others."""

    def __init__(self, name: str, model: Any, extractor: Any) -> None:
        self.name = name
        self._model = model
        self._extractor = extractor
        self._lock = Lock()

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        require_length(samples)
        try:
            inputs = self._extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            with self._lock, torch.inference_mode():
                vectors = self._model(**inputs.to(self._model.device)).embeddings
        except RuntimeError as error:  # a piece too short for the model's convolutions, or no memory left
            raise EmbedderError(f"the speaker model {self.name} has failed: {error}") from error
        return unit(vectors[0].cpu().numpy())


def load_hub_embedder(name: str, device: str) -> HubEmbedder:
    """Load a checkpoint by folder or hub repository. In float32 everywhere: vectors are kept, and compared with those
    that another machine makes.

    Raises:
        CheckpointError: it cannot be had, is none that embeds voices, or is damaged.
        DeviceError: the gpu extra is not installed.
    """
    folder = _find(name)
    config = read_config(folder)
    if type(config) not in MODEL_FOR_AUDIO_XVECTOR_MAPPING:
        raise CheckpointError(f"{name} is no model that embeds voices, but a {config.model_type}")
    extractor = load_extractor(folder)
    model = load_weights(folder, config, AutoModelForAudioXVector, torch.device(device), torch.float32)
    return HubEmbedder(f"{Path(name).name.partition('@')[0]}-{_checksum(folder)}", model, extractor)


def _find(name: str) -> Path:
    """The checkpoint's folder. Safetensors are preferred: pickled weights are downloaded only where there are none."""
    folder = find_checkpoint(name, patterns=PATTERNS, missing=_lacks_config)
    return folder if not missing_files(folder) else find_checkpoint(name, patterns=(*PATTERNS, PICKLED), missing=_lacks)


def _lacks_config(folder: Path) -> list[str]:
    return [file for file in (CONFIG, EXTRACTOR) if not (folder / file).is_file()]


def _lacks(folder: Path) -> list[str]:
    return [] if (folder / PICKLED).is_file() else missing_files(folder)


def _checksum(folder: Path) -> str:
    """Of the weights: eight digits, by which vectors of another checkpoint under the same name are told apart."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")) or [folder / PICKLED]:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:8]
