"""The embedded model on a card: the same text as in float32 on the CPU, by captured graphs, without new memory."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.request import Hypothesis, Request
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings
from stream_server.engine.moonshine.tensor.model import TensorModel
from tests.support.speech import recording

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SETTINGS = DeviceSettings(clips=(2, 8), encoded=(1, 4), seconds=(2, 8), widths=(16,))
BOUNDS = ((0, 7.5), (9, 10.5), (12, 18), (20, 21.5), (22, 27), (30, 34))


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    speech = recording("two_cities.wav")
    return [Request(speech[int(start * 16_000) : int(end * 16_000)], align=True) for start, end in BOUNDS]


@pytest.fixture(scope="module")
def card() -> TensorModel:
    model = TensorModel(find_assets(), SETTINGS, "cuda")
    model.warm_up(8 * 16_000, SETTINGS.clips[-1])
    return model


@pytest.fixture(scope="module")
def expected(requests: list[Request]) -> list[Hypothesis]:
    return TensorModel(find_assets(), SETTINGS.unpadded(), "cpu").decode(requests)


def assert_close(heard: Hypothesis, plain: Hypothesis) -> None:
    assert heard.tokens == plain.tokens
    np.testing.assert_allclose(heard.logprobs, plain.logprobs, atol=0.05)
    assert heard.attention is not None
    assert plain.attention is not None
    np.testing.assert_allclose(heard.attention, plain.attention, atol=0.05)


def test_hears_what_the_cpu_hears(card: TensorModel, requests: list[Request], expected: list[Hypothesis]) -> None:
    for heard, plain in zip(card.decode(requests), expected, strict=True):
        assert_close(heard, plain)


def test_alone_and_with_drafts(card: TensorModel, requests: list[Request], expected: list[Hypothesis]) -> None:
    for request, plain in zip(requests, expected, strict=True):
        for draft in ((), plain.tokens, plain.tokens[:4], (400,) * 20):
            assert_close(card.decode([Request(request.audio, draft=draft, align=True)])[0], plain)


def test_what_was_not_captured_runs_all_the_same(card: TensorModel) -> None:
    speech = recording("two_cities.wav")[: 12 * 16_000]
    (heard,) = card.decode([Request(speech)])
    (plain,) = TensorModel(find_assets(), SETTINGS.unpadded(), "cpu").decode([Request(speech)])
    assert heard.tokens == plain.tokens


def test_runs_by_graphs_and_takes_no_more_memory(card: TensorModel, requests: list[Request]) -> None:
    assert len(card._captures) > 0
    card.decode(requests)
    reserved = torch.cuda.memory_reserved()
    for _ in range(5):
        card.decode(requests)
    assert torch.cuda.memory_reserved() == reserved
