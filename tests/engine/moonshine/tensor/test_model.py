"""The torch backend keeps the promises of `Request` and `Hypothesis`, whatever shapes its batches are padded to."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from bench.backends import FloatBuilder
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.request import MAXIMUM_SAMPLES, Hypothesis, Request
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings
from stream_server.engine.moonshine.tensor.model import TensorModel
from stream_server.engine.moonshine.tokenizer import END, Tokenizer
from tests.engine.moonshine.conftest import Excerpt

Audio = NDArray[np.float32]
SETTINGS = DeviceSettings(clips=(1, 2, 6), encoded=(1, 4), seconds=(2, 5), widths=(1, 16), steps=3)


@pytest.fixture(scope="module")
def tensor_model(assets: Assets) -> TensorModel:
    return TensorModel(assets, SETTINGS, "cpu")


@pytest.fixture(scope="module")
def clips(excerpt: Excerpt) -> list[Audio]:
    """Speech of very different lengths, the first longer than any prepared shape, and some that is not speech."""
    random = np.random.default_rng(0)
    return [
        excerpt("two_cities.wav", 0, 6.2),
        excerpt("beckett.wav", 0, 3.1),
        excerpt("two_cities.wav", 20, 21),
        (random.standard_normal(24_000) * 0.01).astype(np.float32),
        np.zeros(8_000, np.float32),
        excerpt("two_cities.wav", 30, 34.5),
    ]


@pytest.fixture(scope="module")
def alone(tensor_model: TensorModel, clips: list[Audio]) -> list[Hypothesis]:
    return [tensor_model.decode([Request(clip, align=True)])[0] for clip in clips]


def assert_same(one: Hypothesis, other: Hypothesis) -> None:
    assert (one.tokens, one.frames, one.truncated, one.looped) == (
        other.tokens,
        other.frames,
        other.truncated,
        other.looped,
    )
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    if one.attention is not None and other.attention is not None:
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)


def test_says_what_the_cpu_says(
    tensor_model: TensorModel, model: Model, tokenizer: Tokenizer, clips: list[Audio], alone: list[Hypothesis]
) -> None:
    """The CPU rounds to 8 bits, so that a doubtful word may differ: at most one in ten here."""
    matched = words = 0
    for index in (0, 1, 2, 5):
        tokens = model.decode([Request(clips[index])])[0].tokens, alone[index].tokens
        said, ours = (re.findall(r"[a-z']+", tokenizer.decode(each).lower()) for each in tokens)
        matched += sum(block.size for block in difflib.SequenceMatcher(a=said, b=ours).get_matching_blocks())
        words += max(len(said), len(ours))
    assert words > 30
    assert matched >= 0.9 * words


def test_says_exactly_what_the_same_graphs_say_without_rounding(
    tensor_model: TensorModel, assets: Assets, tokenizer: Tokenizer, excerpt: Excerpt
) -> None:
    """The two are one network: only the products of 8 bits stand between them."""
    spans = [(0.0, 2.3), (2.3, 6.0), (6.0, 7.1), (7.1, 12.4), (20.0, 24.7), (30.0, 33.2)]
    clips = [excerpt("two_cities.wav", *span) for span in spans]
    clips += [excerpt("beckett.wav", 0.0, 4.1), excerpt("beckett.wav", 4.1, 9.9)]
    requests = [Request(clip) for clip in clips]
    unrounded = Model(assets, new_builder=FloatBuilder).decode(requests)
    texts = [[tokenizer.decode(each.tokens) for each in said] for said in (unrounded, tensor_model.decode(requests))]
    assert texts[0] == texts[1]
    assert sum(len(text.split()) for text in texts[0]) > 60


def test_attention_is_that_of_the_cpu(model: Model, clips: list[Audio], alone: list[Hypothesis]) -> None:
    (theirs,) = model.decode([Request(clips[0], prefix=alone[0].tokens, align=True)])
    assert theirs.attention is not None
    assert alone[0].attention is not None
    assert alone[0].attention.shape == theirs.attention.shape
    apart = np.abs(theirs.attention.argmax(2) - alone[0].attention.argmax(2))
    assert np.mean(apart <= 2) > 0.9  # frames, of 24 ms


def test_batched_equals_alone(tensor_model: TensorModel, clips: list[Audio], alone: list[Hypothesis]) -> None:
    """More clips than run together, in any order; the batch shrinks as they end."""
    for order in ([*range(6)], [5, 3, 1, 4, 2, 0, 1, 3]):
        batch = tensor_model.decode([Request(clips[index], align=True) for index in order])
        for index, heard in zip(order, batch, strict=True):
            assert_same(heard, alone[index])


def test_the_shapes_change_nothing(assets: Assets, clips: list[Audio], alone: list[Hypothesis]) -> None:
    for settings in (
        DeviceSettings(clips=(6,), steps=1),
        DeviceSettings(clips=(3,), encoded=(3,), seconds=(), steps=9),
    ):
        batch = TensorModel(assets, settings, "cpu").decode([Request(clip, align=True) for clip in clips])
        for heard, plain in zip(batch, alone, strict=True):
            assert_same(heard, plain)


def test_a_draft_changes_nothing(tensor_model: TensorModel, clips: list[Audio], alone: list[Hypothesis]) -> None:
    random = np.random.default_rng(0)
    requests, expected = [], []
    for clip, plain in zip(clips[1:4], alone[1:4], strict=True):
        wrong = list(plain.tokens)
        if wrong:
            wrong[int(random.integers(len(wrong)))] = 1000
        too_long = (*plain.tokens, 500, 600, 700)
        for draft in (plain.tokens[:3], tuple(wrong), too_long, (END,), (400,) * 300):
            requests.append(Request(clip, draft=draft, align=True))
            expected.append(plain)
    for heard, plain in zip(tensor_model.decode(requests), expected, strict=True):
        assert_same(heard, plain)


def test_a_prefix_is_kept_and_what_follows_it_is_greedy(
    tensor_model: TensorModel, tokenizer: Tokenizer, clips: list[Audio], alone: list[Hypothesis]
) -> None:
    plain = alone[0]
    own, other = plain.tokens[:9], tokenizer.encode("It was the West of times,")
    continued, turned, drafted = tensor_model.decode(
        [
            Request(clips[0], prefix=own),
            Request(clips[0], prefix=other),
            Request(clips[0], prefix=own, draft=plain.tokens[9:14]),
        ]
    )
    assert continued.tokens == plain.tokens
    assert continued.logprobs[:9] == (0.0,) * 9
    np.testing.assert_allclose(continued.logprobs[9:], plain.logprobs[9:], atol=1e-4)
    assert turned.tokens[: len(other)] == other
    assert len(turned.tokens) > len(other) + 5
    assert_same(drafted, continued)


def test_the_number_of_tokens_is_capped(tensor_model: TensorModel, tokenizer: Tokenizer, excerpt: Excerpt) -> None:
    prefix = tokenizer.encode("one two three four five six seven eight nine ten eleven twelve")
    audio = excerpt("beckett.wav", 0, 2)
    cut, full, both = tensor_model.decode(
        [
            Request(audio, prefix=prefix[:11]),
            Request(audio, prefix=prefix * 3, align=True),
            Request(audio, prefix=prefix[:4]),
        ]
    )
    assert len(cut.tokens) <= 13
    assert full.tokens == prefix * 3  # the prefix is not cut, and nothing is added to it
    assert full.truncated
    assert full.attention is not None
    assert full.attention.shape == (2, 36, full.frames)
    assert both.tokens[:4] == prefix[:4]


def test_a_loop_is_cut(
    tensor_model: TensorModel, clips: list[Audio], alone: list[Hypothesis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stream_server.engine.moonshine.request.find_loop", lambda tokens: 4 if len(tokens) == 9 else None
    )
    heard, forced = tensor_model.decode([Request(clips[0], align=True), Request(clips[0], prefix=alone[0].tokens[:6])])
    assert heard.looped
    assert heard.tokens == alone[0].tokens[:4]
    assert heard.attention is not None
    assert alone[0].attention is not None
    np.testing.assert_allclose(heard.attention, alone[0].attention[:, :4], atol=1e-4)
    assert forced.looped
    assert forced.tokens == alone[0].tokens[:6]  # a prefix was promised, and stays


def test_attention_of_a_last_token_that_was_never_read(
    tensor_model: TensorModel, model: Model, excerpt: Excerpt, tokenizer: Tokenizer
) -> None:
    """As on the CPU: zeros."""
    prefix = tokenizer.encode("one two three four five")[:5]
    request = Request(excerpt("beckett.wav", 0, 0.9), prefix=prefix, align=True)
    for heard in (*tensor_model.decode([request]), *model.decode([request])):
        assert heard.attention is not None
        read = heard.attention.sum(axis=2)
        np.testing.assert_allclose(read[0], 1, atol=1e-4)
        np.testing.assert_allclose(read[1, :-1], 1, atol=1e-4)
        assert read[1, -1] == pytest.approx(0 if heard.truncated else 1, abs=1e-4)


def test_no_speech_and_next_to_nothing(tensor_model: TensorModel) -> None:
    clips = [np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(16_000, np.float32)]
    for heard in tensor_model.decode([Request(clip, align=True) for clip in clips]):
        assert len(heard.tokens) <= 6
        assert heard.frames > 0
    assert tensor_model.decode([]) == []


@pytest.mark.parametrize(
    "audio",
    [np.zeros(MAXIMUM_SAMPLES + 1, np.float32), np.zeros((2, 100), np.float32), np.array([0, np.nan, 0], np.float32)],
)
def test_a_clip_that_cannot_be_decoded_is_an_error(tensor_model: TensorModel, audio: Audio) -> None:
    with pytest.raises(ValueError, match="a clip is"):
        tensor_model.decode([Request(audio)])


def test_a_clip_out_of_all_bounds_harms_nobody(
    tensor_model: TensorModel, clips: list[Audio], alone: list[Hypothesis]
) -> None:
    """What is finite may still overflow on its way: neither its batch nor the next one hears of it."""
    wild = np.where(np.arange(32_000) % 3 == 0, 3e38, -3e38).astype(np.float32)
    batch = tensor_model.decode([Request(clips[0]), Request(wild), Request(clips[1])])
    assert_same(batch[0], alone[0])
    assert_same(batch[2], alone[1])
    assert_same(tensor_model.decode([Request(clips[0])])[0], alone[0])


def test_warm_up_leaves_no_trace(tensor_model: TensorModel, clips: list[Audio], alone: list[Hypothesis]) -> None:
    tensor_model.warm_up(3 * 16_000, 2)
    assert_same(tensor_model.decode([Request(clips[1])])[0], alone[1])
