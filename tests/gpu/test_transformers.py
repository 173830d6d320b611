"""Whole-segment models on a card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.transformers.family import load_model
from stream_server.engine.transformers.reading import Request
from stream_server.engine.transformers.settings import TransformersSettings
from tests.engine.transformers import tiny
from tests.engine.transformers.test_whisper import word_errors
from tests.support.speech import recording
from tests.support.whisper import whisper_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

MAKERS = {
    "whisper": tiny.make_whisper,
    "moonshine": tiny.make_moonshine,
    "parakeet_ctc": lambda folder: tiny.make_parakeet(folder, "ctc"),
    "parakeet_rnnt": lambda folder: tiny.make_parakeet(folder, "rnnt"),
    "parakeet_tdt": lambda folder: tiny.make_parakeet(folder, "tdt"),
    "wav2vec2": tiny.make_wav2vec2,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_family_runs(kind: str, tmp_path: Path) -> None:
    loaded, model = load_model(MAKERS[kind](tmp_path), "tiny", torch.device("cuda"), TransformersSettings())
    assert loaded.dtype != torch.float32
    prefix = (20, 21, 22) if model.forces else ()
    requests = [Request(tiny.noise(seconds, 1), prefix=prefix, timed=True) for seconds in (2.0, 0.7, 3.0)]
    for request, reading in zip(requests, model.read(requests), strict=True):
        assert reading.tokens[: len(prefix)] == prefix
        assert len(reading.logprobs) == len(reading.tokens) - len(prefix)
        assert np.isfinite(reading.logprobs).all()
        assert reading.spans is None or all(0 <= a <= b <= len(request.audio) for a, b in reading.spans)


def test_real_speech_is_read_as_on_the_cpu() -> None:
    """But for a doubtful word: the card computes in 16 bits."""
    clips = [recording("beckett.wav"), recording("two_cities.wav")[: 12 * 16_000]]
    texts = []
    for device in ("cpu", "cuda"):
        _, model = load_model(whisper_checkpoint(), "tiny", torch.device(device), TransformersSettings())
        texts.append([model.vocabulary.decode(reading.tokens) for reading in model.read([Request(c) for c in clips])])
    for plain, heard in zip(*texts, strict=True):
        assert word_errors(plain, heard) <= 0.1
