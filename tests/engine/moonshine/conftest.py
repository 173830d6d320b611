"""The model loaded once, and real speech from the wheel that carries it."""

from collections.abc import Callable

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from stream_server.engine.moonshine.asset import Assets, find_assets, find_recording
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.request import SAMPLE_RATE
from stream_server.engine.moonshine.tokenizer import Tokenizer

Excerpt = Callable[[str, float, float], NDArray[np.float32]]


@pytest.fixture(scope="session")
def assets() -> Assets:
    return find_assets()


@pytest.fixture(scope="session")
def model(assets: Assets) -> Model:
    return Model(assets)


@pytest.fixture(scope="session")
def tokenizer(assets: Assets) -> Tokenizer:
    return Tokenizer.load(assets.tokenizer)


@pytest.fixture(scope="session")
def excerpt() -> Excerpt:
    """`excerpt(name, start, end)`: seconds start to end of a recording, at 16 kHz."""
    recordings: dict[str, NDArray[np.float32]] = {}

    def cut(name: str, start: float, end: float) -> NDArray[np.float32]:
        if name not in recordings:
            samples, rate = soundfile.read(find_recording(name), dtype="float32", always_2d=True)
            recordings[name] = np.asarray(soxr.resample(samples[:, 0], rate, SAMPLE_RATE), np.float32)
        return recordings[name][round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]

    return cut
