"""The torch backend behind the engine's interface."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings
from stream_server.engine.moonshine.tensor.recognizer import load_moonshine_torch
from stream_server.engine.recognizer import Kind, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import SAMPLE_RATE, StreamOptions
from tests.support.speech import recording

SPEECH = recording("two_cities.wav")[: 4 * SAMPLE_RATE]
SETTINGS = MoonshineSettings(device=DeviceSettings(clips=(2, 4), encoded=(2, 4), seconds=(2, 4)))
OPTIONS = StreamOptions("en")


@pytest.fixture(scope="module")
def recognizer() -> MoonshineRecognizer:
    return load_moonshine_torch(find_assets(), SETTINGS, "cpu")


def test_takes_more_at_once_than_the_cpu(recognizer: MoonshineRecognizer) -> None:
    limits = SETTINGS.device
    assert recognizer.info.max_batch == limits.max_batch > SETTINGS.max_batch
    assert recognizer.info.max_step_samples == limits.max_step_samples
    assert "torch" in recognizer.info.description


def test_what_is_stable_stays_and_words_are_placed(recognizer: MoonshineRecognizer) -> None:
    callers = [recognizer.new_stream(Slot(index, 1)) for index in range(2)]
    stable = ["", ""]
    for end in range(SAMPLE_RATE, len(SPEECH) + 1, SAMPLE_RATE):
        tasks = [Task(caller, Kind.STEP, 0, 0, SPEECH[:end], OPTIONS) for caller in callers]
        for index, hypothesis in enumerate(recognizer.step(tasks)):
            assert hypothesis.text.startswith(stable[index])
            stable[index] = hypothesis.text[: hypothesis.stable_chars]
    finals = recognizer.step([Task(caller, Kind.FINAL, 0, 0, SPEECH, OPTIONS) for caller in callers])
    assert stable[0]
    for final, before in zip(finals, stable, strict=True):
        assert final.text.startswith(before)
        assert "best of" in final.text.lower()
        assert final.words is not None
        assert " ".join(word.word for word in final.words) == final.text
        edges = [edge for word in final.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= len(SPEECH)
