"""Random checkpoints of a Nemotron diarization model, saved by transformers' own classes. Needs the gpu extra.

The weights are such that on noise each speaker speaks now and then, and that what is heard
depends on the audio and on what was heard before.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    Nemotron3DiarizationConfig,
    Nemotron3DiarizationForAudioFrameClassification,
    Nemotron3DiarizationProcessor,
    NemotronAsrStreamingFeatureExtractor,
)

from stream_server.engine.work import SAMPLE_RATE

torch.set_num_threads(1)  # for tensors as small as these, threads only wait for each other

SPEAKERS = 3
_SIZES: dict[str, Any] = {
    "audio_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_mel_bins": 16,
    },
    "head_config": {"hidden_size": 24, "num_speakers": SPEAKERS, "audio_hidden_size": 32},
    "streaming_config": {"num_speakers": SPEAKERS, "speaker_cache_length": 12},
    "chunk_length": 10,
    "chunk_right_context": 4,
    "fifo_length": 6,
    "speaker_cache_update_period": 8,
}


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """[n] float32 of changing loudness and colour."""
    random = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    loudness, colour = (np.repeat(random.random(count // 4000 + 1), 4000)[:count] for _ in range(2))
    white = random.normal(0, 1, count + 1)
    return np.asarray(0.3 * loudness * (white[1:] + colour * white[:-1]), np.float32)


def make_diarization(folder: Path, **overrides: Any) -> Path:
    """A tiny one in ``folder``; ``overrides`` replace settings of its configuration."""
    return save_diarization(folder, Nemotron3DiarizationConfig(**{**_SIZES, **overrides}))


@torch.no_grad()
def save_diarization(folder: Path, config: Nemotron3DiarizationConfig) -> Path:
    """One of any size in ``folder``."""
    extractor = NemotronAsrStreamingFeatureExtractor(feature_size=config.audio_config.num_mel_bins)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Nemotron3DiarizationForAudioFrameClassification(config)
        for name, parameter in model.named_parameters():
            if name == "silence_embeds":
                parameter.normal_()
            elif parameter.dim() > 1:
                parameter.normal_(std=1.5 / math.sqrt(parameter[0].numel()))
            elif "norm" not in name:
                parameter.normal_(std=0.1)
    model.eval()
    inputs = extractor(noise(8.0), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    logits = model(**inputs).logits[0]
    last = model.classifier.out_proj
    last.weight.div_(logits.std(dim=0)[:, None])
    last.bias.sub_(logits.mean(dim=0)).div_(logits.std(dim=0)).sub_(1.3)
    model.save_pretrained(folder)
    Nemotron3DiarizationProcessor(extractor).save_pretrained(folder)
    return folder
