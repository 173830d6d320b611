"""The diarization model on a card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from transformers import Nemotron3DiarizationConfig

from stream_server.speakers.nemotron.diarizer import load_nemotron_diarizer
from stream_server.speakers.nemotron.model import load_nemotron
from stream_server.speakers.nemotron.stream import ActivityStream
from tests.support.diarization import make_diarization, noise, save_diarization

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def logits(folder: Path, device: str, samples: np.ndarray) -> np.ndarray:
    stream = ActivityStream(load_nemotron(str(folder), device))
    stream.hear(samples)
    return stream.finish()


def test_it_hears_as_on_the_cpu(tmp_path: Path) -> None:
    folder = make_diarization(tmp_path)
    samples = noise(20.0)
    on_cpu, on_card = (logits(folder, device, samples) for device in ("cpu", "cuda"))
    # A frame whose place in the model's memory hangs by a hair may be another there: so not every one is alike.
    assert np.mean(np.abs(on_cpu - on_card) < 0.05) > 0.99


def test_full_size_takes_little_memory_however_long(tmp_path: Path) -> None:
    folder = save_diarization(tmp_path, Nemotron3DiarizationConfig())
    diarizer = load_nemotron_diarizer(str(folder), "cuda")
    peaks = []
    recording = diarizer.open()
    for minute in range(10):
        torch.cuda.reset_peak_memory_stats()
        recording.hear(noise(60.0, minute))
        peaks.append(torch.cuda.max_memory_allocated())
    assert max(peaks) <= 1.05 * peaks[4]  # by then what the model keeps is full
    assert max(peaks) < 2**30
    assert recording.finish()
