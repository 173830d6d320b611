"""A Nemotron diarization model, loaded: Streaming Sortformer as transformers has it, ``nemotron3_diarization``.

It runs one chunk at a time, of one recording at a time: recordings take turns. In float32 on a card too, where a
chunk of half a minute takes some milliseconds anyway: by the probabilities it is decided what the model remembers of
each speaker. It does not know how a recording is cut into chunks.

Source of the model's design: Medennikov et al., *Streaming Sortformer*, https://arxiv.org/abs/2507.18446.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Nemotron3DiarizationForAudioFrameClassification, NemotronAsrStreamingFeatureExtractor
from transformers.models.nemotron3_diarization.modeling_nemotron3_diarization import Nemotron3DiarizationSpeakerCache

from stream_server.engine.fault import device_faults
from stream_server.engine.hub import CheckpointError, find_checkpoint, missing_files
from stream_server.engine.transformers.checkpoint import load_extractor, load_weights, read_config
from stream_server.engine.work import SAMPLE_RATE

MODEL_TYPE: Final = "nemotron3_diarization"
PROCESSOR: Final = "processor_config.json"


class NemotronModel:
    """Safe to use from several threads, each with a memory of its own."""

    def __init__(self, model: Any, extractor: Any) -> None:
        self._model = model
        self._extractor = extractor
        self._lock = Lock()
        self.chunk: int = model.config.chunk_length
        """Encoder frames that are decided on in a run over a whole recording; before and after them it looks at
        `back` and `ahead` more."""
        self.back: int = model.config.chunk_left_context
        self.ahead: int = model.config.chunk_right_context
        self.factor: int = model.config.audio_config.subsampling_factor
        """Frames of the spectrogram, and of the result, in an encoder frame."""
        self.num_speakers: int = model.config.head_config.num_speakers
        self.hop: int = extractor.hop_length
        """Samples from one frame of the spectrogram to the next."""
        self.reach: int = extractor.n_fft // 2
        """Samples before and after the place of such a frame that are looked at for it."""

    def new_memory(self) -> Nemotron3DiarizationSpeakerCache:
        """What is kept of a recording from chunk to chunk, nothing so far; the sizes are those for whole recordings."""
        config = self._model.config
        return Nemotron3DiarizationSpeakerCache(
            config.streaming_config,
            fifo_length=config.fifo_length,
            speaker_cache_update_period=config.speaker_cache_update_period,
        )

    def features(self, samples: NDArray[np.float32], *, is_first: bool, is_last: bool) -> torch.Tensor:
        """The spectrogram [frames, mels] of ``samples``, which begin with the recording or `reach` before a frame."""
        found = self._extractor(
            samples, sampling_rate=SAMPLE_RATE, center=is_first, is_last_audio_chunk=is_last, return_tensors="pt"
        )
        features: torch.Tensor = found["input_features"][0]
        return features[: int(found["attention_mask"].sum())]

    def run(
        self, features: torch.Tensor, memory: Nemotron3DiarizationSpeakerCache, *, back: int, ahead: int
    ) -> NDArray[np.float16]:
        """What the model makes of a chunk: [frames, speakers], above 0 where a speaker rather speaks than not.

        Args:
            features: of the chunk, with ``back`` encoder frames before it and ``ahead`` after it.
            memory: of this recording; the chunk is added to it.

        Raises:
            DeviceMemoryError, DeviceLostError: the device has failed.
        """
        with self._lock, device_faults(), torch.inference_mode():
            logits = self._model(
                features[None].to(self._model.device),
                speaker_cache=memory,
                num_lookback_frames=back,
                num_lookahead_frames=ahead,
            ).logits[0]
            return np.asarray(logits.half().cpu().numpy())


def load_nemotron(name: str, device: str) -> NemotronModel:
    """Load a checkpoint by folder or hub repository. ``device``: as torch names it.

    Raises:
        CheckpointError: it cannot be had, or is no such model.
        DeviceError: the gpu extra is not installed.
        DeviceMemoryError, DeviceLostError: the device has no room for it, or has failed.
    """
    folder = find_checkpoint(name, missing=_missing)
    config = read_config(folder)
    if config.model_type != MODEL_TYPE:
        raise CheckpointError(f"{name} is a {config.model_type} model, and no diarization model ({MODEL_TYPE})")
    extractor = load_extractor(folder)
    mels = config.audio_config.num_mel_bins
    if not isinstance(extractor, NemotronAsrStreamingFeatureExtractor) or extractor.feature_size != mels:
        raise CheckpointError(f"{folder}: the feature extractor is not that of the model, which takes {mels} mel bins")
    with device_faults():
        model = load_weights(
            folder, config, Nemotron3DiarizationForAudioFrameClassification, torch.device(device), torch.float32
        )
    return NemotronModel(model, extractor)


def _missing(folder: Path) -> list[str]:
    """What the folder lacks. What makes the features is described in either file."""
    files = missing_files(folder)
    if not any((folder / file).is_file() for file in (PROCESSOR, "preprocessor_config.json")):
        files.append(PROCESSOR)
    return files
