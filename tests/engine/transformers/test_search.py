"""CTC and transducers against transformers' own decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.transformers.family import load_model
from stream_server.engine.transformers.reading import Request
from stream_server.engine.transformers.settings import TransformersSettings
from tests.engine.transformers.tiny import noise

CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 3.3, 0.7, 1.2))]


@pytest.mark.parametrize("kind", ["parakeet_ctc", "parakeet_rnnt", "parakeet_tdt"])
def test_parakeet_reads_as_transformers_does(checkpoint: Callable[[str], Path], kind: str) -> None:
    loaded, model = load_model(checkpoint(kind), "tiny", torch.device("cpu"), TransformersSettings())
    if kind == "parakeet_ctc":
        rows = loaded.model.generate(**loaded.features(CLIPS))
    else:
        rows = loaded.model.generate(**loaded.features(CLIPS), max_new_tokens=300).sequences
    for clip, row in zip(CLIPS, rows, strict=True):
        ids = row.tolist()
        if kind == "parakeet_ctc":
            ids = [label for place, label in enumerate(ids) if place == 0 or ids[place - 1] != label]
        tokens = model.read([Request(clip)])[0].tokens
        # Rows that are at their end go on in transformers until the last one is.
        assert tokens == tuple(label for label in ids if model.vocabulary.pieces[label])[: len(tokens)]
        assert len(tokens) > 2


def test_a_wav2vec2_model_is_read_as_its_processor_does(checkpoint: Callable[[str], Path]) -> None:
    loaded, model = load_model(checkpoint("wav2vec2"), "tiny", torch.device("cpu"), TransformersSettings())
    with torch.inference_mode():
        labels = loaded.model(**loaded.features([CLIPS[1]])).logits.argmax(-1)[0]
    text = loaded.tokenizer.decode(labels, skip_special_tokens=True)
    assert model.vocabulary.decode(model.read([Request(CLIPS[1])])[0].tokens) == text


def test_times_are_those_of_frames(checkpoint: Callable[[str], Path]) -> None:
    loaded, model = load_model(checkpoint("parakeet_tdt"), "tiny", torch.device("cpu"), TransformersSettings())
    clip = noise(4.0, 1)
    (reading,) = model.read([Request(clip, timed=True)])
    assert reading.spans is not None
    assert loaded.frame == 8 * 160
    edges = [edge for span in reading.spans for edge in span]
    assert all(edge % loaded.frame == 0 or edge == len(clip) for edge in edges)
    assert len(clip) - 4 * loaded.frame < max(edges) <= len(clip)
