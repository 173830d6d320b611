"""The diarization model through its own loading code: what comes out is what one run over the whole recording gives."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")

from safetensors.torch import load_file, save_file

from stream_server.engine.work import SAMPLE_RATE
from stream_server.speakers.diarizer import DiarizerError
from stream_server.speakers.nemotron.activity import turns_of
from stream_server.speakers.nemotron.diarizer import NemotronDiarizer, load_nemotron_diarizer
from stream_server.speakers.nemotron.model import NemotronModel, load_nemotron
from stream_server.speakers.nemotron.stream import ActivityStream
from stream_server.speakers.turn import Turn
from tests.support.diarization import SPEAKERS, make_diarization, noise

FRAME = 160
ENCODER_FRAME = 8 * FRAME
CHUNK, AHEAD = 10 * ENCODER_FRAME, 4 * ENCODER_FRAME
"""Of the tiny checkpoint, in samples."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_diarization(tmp_path_factory.mktemp("diarization"))


@pytest.fixture(scope="module")
def model(folder: Path) -> NemotronModel:
    return load_nemotron(str(folder), "cpu")


@pytest.fixture(scope="module")
def diarizer(folder: Path) -> NemotronDiarizer:
    return load_nemotron_diarizer(str(folder), "cpu")


def reference(folder: Path, samples: np.ndarray) -> np.ndarray:
    """transformers' own run over the whole recording, [frames, speakers]."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    network = transformers.AutoModelForAudioFrameClassification.from_pretrained(folder)
    inputs = processor(samples, sampling_rate=SAMPLE_RATE)
    # The frame after the last is padding. A recording of whole encoder frames would get one more of nothing but that.
    frames = len(samples) // FRAME
    with torch.inference_mode():
        return np.asarray(network(inputs["input_features"][:, :frames]).logits[0])


def logits(model: NemotronModel, samples: np.ndarray, piece: int = 10**9) -> np.ndarray:
    stream = ActivityStream(model)
    for start in range(0, len(samples), piece):
        stream.hear(samples[start : start + piece])
    return stream.finish()


def turns(diarizer: NemotronDiarizer, samples: np.ndarray, num_speakers: int | None = None) -> tuple[Turn, ...]:
    recording = diarizer.open(num_speakers)
    recording.hear(samples)
    return recording.finish()


@pytest.mark.parametrize(
    "count",
    [
        FRAME,
        ENCODER_FRAME - 1,
        ENCODER_FRAME,
        CHUNK,
        CHUNK + 1,
        CHUNK + AHEAD - FRAME,
        CHUNK + AHEAD,
        CHUNK + AHEAD + 256,
        CHUNK + AHEAD + 257,
        2 * CHUNK + 2 * ENCODER_FRAME,
        2 * CHUNK + AHEAD + 300,
        150_007,
    ],
)
@pytest.mark.parametrize("back", [0, 3, 25])
def test_chunk_by_chunk_is_as_the_whole(tmp_path: Path, count: int, back: int) -> None:
    """``back``: how many frames before the chunk the model looks at; 25 are more than two chunks."""
    folder = make_diarization(tmp_path, chunk_left_context=back)
    samples = noise(10.0)[:count]
    expected = reference(folder, samples)
    found = logits(load_nemotron(str(folder), "cpu"), samples)
    assert found.shape == (count // FRAME, SPEAKERS)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_what_was_heard_before_matters(model: NemotronModel) -> None:
    """Or the test above would not see a memory that is lost."""
    samples = noise(8.0)
    alone = logits(model, samples[-2 * SAMPLE_RATE :])
    assert np.abs(logits(model, samples)[-len(alone) :] - alone)[10:].max() > 1


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 3 * CHUNK), min_size=1, max_size=12), st.integers(0, 3))
def test_cut_in_any_pieces_the_turns_are_the_same(diarizer: NemotronDiarizer, pieces: list[int], seed: int) -> None:
    samples = noise(6.0, seed)
    recording = diarizer.open()
    start = 0
    for piece in [*pieces, len(samples)]:
        recording.hear(samples[start : start + piece])
        start += piece
    found = recording.finish()
    assert found == turns(diarizer, samples)
    assert len(found) > 5


@pytest.mark.parametrize("count", [0, 1, FRAME - 1])
def test_less_than_a_frame_has_no_turns(diarizer: NemotronDiarizer, count: int) -> None:
    assert turns(diarizer, noise(1.0)[:count]) == ()


def test_turns_are_made_of_what_the_model_says(diarizer: NemotronDiarizer, folder: Path) -> None:
    samples = noise(6.0, 1)
    said = reference(folder, samples).astype(np.float16)
    assert turns(diarizer, samples) == turns_of(said, 10.0)
    assert turns(diarizer, samples, 2) == turns_of(said, 10.0, 2)
    assert {turn.speaker for turn in turns(diarizer, samples, 2)} == {"SPEAKER_00", "SPEAKER_01"}


def test_what_is_held_does_not_grow(model: NemotronModel) -> None:
    """It takes some chunks until the cache is full; after that only the result grows."""
    stream = ActivityStream(model)
    sizes = []
    for second in range(40):
        stream.hear(noise(1.0, second))
        sizes.append(stream.size)
    assert len(set(sizes[3:])) == 1
    audio = (CHUNK + AHEAD + 512) * 4
    width, frames = 32, 12 + 6
    assert sizes[-1] == audio + 4 * (width * frames + SPEAKERS * 12)
    result = stream.finish()
    assert result.shape == (40 * 100, SPEAKERS)
    assert result.dtype == np.float16


def test_recordings_at_the_same_time_are_not_mixed(diarizer: NemotronDiarizer) -> None:
    recordings = [noise(6.0, seed) for seed in range(3)]
    expected = [turns(diarizer, samples) for samples in recordings]
    found: dict[int, tuple[Turn, ...]] = {}

    def diarize(index: int) -> None:
        recording = diarizer.open()
        for start in range(0, len(recordings[index]), 4000):
            recording.hear(recordings[index][start : start + 4000])
        found[index] = recording.finish()

    threads = [threading.Thread(target=diarize, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(3)] == expected
    assert len(set(expected)) == 3


def test_a_recording_that_is_closed_holds_nothing(diarizer: NemotronDiarizer) -> None:
    recording = diarizer.open()
    recording.hear(noise(3.0))
    recording.close()
    recording.close()
    assert turns(diarizer, noise(6.0)) == turns(diarizer, noise(6.0))


class Refusal:
    """A network that cannot run, beside the settings of one that can."""

    def __init__(self, network: Any, error: Exception) -> None:
        self.config, self.device = network.config, network.device
        self._error = error

    def __call__(self, *arguments: object, **options: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "no memory .*max_sessions"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "lost until a restart"),
    ],
)
def test_a_device_that_fails_is_an_error_of_the_diarizer(folder: Path, error: Exception, message: str) -> None:
    network = transformers.AutoModelForAudioFrameClassification.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    diarizer = NemotronDiarizer("tiny", NemotronModel(Refusal(network, error), extractor))
    with pytest.raises(DiarizerError, match=message):
        diarizer.open().hear(noise(3.0))
    recording = diarizer.open()
    recording.hear(noise(0.5))
    with pytest.raises(DiarizerError, match=message):
        recording.finish()


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refusal(name: str | Path, device: str = "cpu") -> str:
    with pytest.raises(DiarizerError) as caught:
        load_nemotron_diarizer(str(name), device)
    return str(caught.value)


def change(file: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(file.read_text())
    edit(values)
    file.write_text(json.dumps(values))


def test_another_model_is_refused(copy: Path) -> None:
    change(copy / "config.json", lambda config: config.update(model_type="bert"))
    assert "is a bert model, and no diarization model (nemotron3_diarization)" in refusal(copy)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "processor_config.json"])
def test_a_missing_file_is_said(copy: Path, file: str) -> None:
    (copy / file).unlink()
    assert refusal(copy).endswith(f"has no {file}")


def test_a_feature_extractor_of_another_kind_is_refused(copy: Path) -> None:
    change(copy / "processor_config.json", lambda config: config["feature_extractor"].update(feature_size=80))
    assert "the feature extractor is not that of the model, which takes 16 mel bins" in refusal(copy)


def test_another_sample_rate_is_refused(copy: Path) -> None:
    change(copy / "processor_config.json", lambda config: config["feature_extractor"].update(sampling_rate=8000))
    assert "made for 8000 Hz" in refusal(copy)


def test_missing_tensors_are_said(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors["classifier.out_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert "tensors are missing: classifier.out_proj.weight" in refusal(copy)


def test_sizes_that_do_not_fit_together_are_refused(copy: Path) -> None:
    change(copy / "config.json", lambda config: config["head_config"].update(num_speakers=SPEAKERS + 1))
    assert "no usable config.json" in refusal(copy)


def test_a_device_that_is_not_there_is_said(folder: Path) -> None:
    assert "cuda:99" in refusal(folder, "cuda:99")


def test_what_is_no_folder_and_no_repository_is_said() -> None:
    assert "neither a folder nor the name of a hub repository" in refusal("no/such/thing")
