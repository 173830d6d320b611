"""The two networks of pyannote's community-1 pipeline on ONNX Runtime. It knows nothing of recordings or clusters.

Segmentation (Plaquet and Bredin, arXiv:2310.13025): up to three speakers in ten seconds of audio, overlaps included.
Embedding (WeSpeaker's ResNet34, arXiv:2210.17016): a voice as 256 numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_server.speakers.community.asset import embedding_model, segmentation_model
from stream_server.speakers.community.feature import filter_bank
from stream_server.speakers.embedder import Calibration
from stream_server.speakers.vector import require_length, unit

WINDOW: Final = 160_000
"""Samples that the segmentation hears at once."""
FRAMES: Final = 589
"""Frames that it makes of them."""
FRAME: Final = 270
"""Samples from one of its frames to the next."""
FIRST: Final = 360
"""Samples before the span of its first frame: a frame sees 991 samples, and stands for the middle of them."""
MOST_FRAMES: Final = 1000
"""Frames of 10 ms that are embedded at once: half a minute of them would take 0.3 GB."""


class Segmentation:
    """May be used by several threads."""

    def __init__(self, threads: int = 1) -> None:
        self._session = _open(segmentation_model(), threads)

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Who speaks in ``samples`` (mono, 16 kHz, at most `WINDOW`): ``[FRAMES, 3]``, silence after its end."""
        padded = np.zeros(WINDOW, np.float32)
        padded[: len(samples)] = samples
        (activity,) = self._session.run(None, {"waveforms": padded[None, None]})
        speaks: NDArray[np.bool_] = activity[0] > 0.5
        speaks[-(-len(samples) // FRAME) :] = False
        return speaks


class CommunityEmbedder:
    """The embedded `Embedder`. May be used by several threads."""

    name = "wespeaker-resnet34-community-1"
    calibration = Calibration(threshold=0.47, slope=33.0)
    """As measured by ``bench.identification``: the least at which nine of ten people who are not enrolled are unknown,
    by telephone too."""

    def __init__(self, threads: int = 1) -> None:
        self._session = _open(embedding_model(), threads)

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        require_length(samples)
        features = filter_bank(samples)
        parts = np.array_split(features, -(-len(features) // MOST_FRAMES))
        return unit(np.mean([self.embed_features(part) for part in parts], axis=0))

    def embed_features(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same for frames of `filter_bank`, which need not be neighbours."""
        level = features - features.mean(axis=0)
        weights = np.ones((1, len(features)), np.float32)
        (vectors,) = self._session.run(None, {"fbank": level[None], "weights": weights})
        return unit(vectors[0])


def _open(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it keeps what the longest stretch has ever needed
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
