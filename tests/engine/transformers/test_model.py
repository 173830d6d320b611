"""What every whole-segment model has to keep, on tiny random ones of every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.transformers.family import load_model
from stream_server.engine.transformers.reading import Reading, Request, SegmentModel
from stream_server.engine.transformers.settings import TransformersSettings
from tests.engine.transformers.conftest import KINDS
from tests.engine.transformers.tiny import noise

CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 3.3, 0.7, 0.01, 1.2))]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> SegmentModel:
    return load_model(checkpoint(request.param), "tiny", torch.device("cpu"), TransformersSettings())[1]


def assert_same(one: Reading, other: Reading) -> None:
    """The same but for rounding."""
    assert (one.tokens, one.spans, one.language, one.looped) == (
        other.tokens,
        other.spans,
        other.language,
        other.looped,
    )
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert one.silence == pytest.approx(other.silence, abs=1e-4)


def test_a_clip_is_read_alike_in_a_batch_and_alone(model: SegmentModel) -> None:
    requests = [Request(clip, timed=True) for clip in CLIPS]
    together = model.read(requests)
    assert len({reading.tokens for reading in together}) > 1  # it does listen
    for request, reading in zip(requests, together, strict=True):
        assert_same(model.read([request])[0], reading)


def test_there_is_a_probability_for_every_token_and_the_text_is_made_of_them(model: SegmentModel) -> None:
    for reading in model.read([Request(clip) for clip in CLIPS]):
        assert len(reading.logprobs) == len(reading.tokens)
        assert all(logprob <= 0 for logprob in reading.logprobs)
        assert all(model.vocabulary.pieces[token] for token in reading.tokens)
        assert reading.spans is None


def test_tokens_are_spoken_in_order_and_within_the_clip(model: SegmentModel) -> None:
    for clip, reading in zip(CLIPS, model.read([Request(clip, timed=True) for clip in CLIPS]), strict=True):
        if reading.spans is None:
            continue
        assert len(reading.spans) == len(reading.tokens)
        starts = [start for start, _ in reading.spans]
        assert starts == sorted(starts)
        assert all(0 <= start <= end <= len(clip) for start, end in reading.spans)


@pytest.mark.parametrize("samples", [0, 1, 400])
def test_next_to_no_audio(model: SegmentModel, samples: int) -> None:
    (reading,) = model.read([Request(np.zeros(samples, np.float32), timed=True)])
    assert all(np.isfinite(reading.logprobs))
