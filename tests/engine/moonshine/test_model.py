import difflib
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.request import MAXIMUM_SAMPLES, SAMPLE_RATE, Hypothesis, Request
from stream_server.engine.moonshine.tokenizer import END, START, Tokenizer
from tests.engine.moonshine.conftest import Excerpt

Audio = NDArray[np.float32]


@pytest.fixture(scope="module")
def clips(excerpt: Excerpt) -> list[Audio]:
    """Speech of very different lengths, and some that is not speech."""
    random = np.random.default_rng(0)
    return [
        excerpt("two_cities.wav", 0, 9.4),
        excerpt("beckett.wav", 0, 3.1),
        excerpt("two_cities.wav", 20, 21),
        (random.standard_normal(24_000) * 0.01).astype(np.float32),
        excerpt("beckett.wav", 2, 9.7),
        np.zeros(8_000, np.float32),
        excerpt("two_cities.wav", 30, 35.55),
    ]


@pytest.fixture(scope="module")
def alone(model: Model, clips: list[Audio]) -> list[Hypothesis]:
    return [model.decode([Request(clip, align=True)])[0] for clip in clips]


def same(one: Hypothesis, other: Hypothesis) -> bool:
    return (one.tokens, one.logprobs, one.frames) == (other.tokens, other.logprobs, other.frames)


def test_hears_the_tale_of_two_cities(model: Model, tokenizer: Tokenizer, excerpt: Excerpt) -> None:
    (heard,) = model.decode([Request(excerpt("two_cities.wav", 0, 8))])
    text = tokenizer.decode(heard.tokens).lower()
    assert "it was the best of times" in text
    assert "it was the worst of times" in text
    assert not heard.truncated
    assert not heard.looped
    assert heard.attention is None


def test_batched_equals_alone_to_the_last_bit(model: Model, clips: list[Audio], alone: list[Hypothesis]) -> None:
    for order in ([*range(len(clips))], [5, 3, 1, 6, 4, 2, 0, 0]):
        batch = model.decode([Request(clips[index], align=True) for index in order])
        for index, heard in zip(order, batch, strict=True):
            assert same(heard, alone[index])
            assert heard.attention is not None
            np.testing.assert_array_equal(heard.attention, alone[index].attention)


def test_threads_do_not_change_the_result(assets: Assets, clips: list[Audio], alone: list[Hypothesis]) -> None:
    (heard,) = Model(assets, threads=2).decode([Request(clips[0])])
    assert same(heard, alone[0])


def test_a_draft_changes_nothing(model: Model, clips: list[Audio], alone: list[Hypothesis]) -> None:
    random = np.random.default_rng(0)
    requests, expected = [], []
    for clip, plain in zip(clips, alone, strict=True):
        wrong = list(plain.tokens)
        if wrong:
            wrong[int(random.integers(len(wrong)))] = 1000
        too_long = (*plain.tokens, 500, 600, 700)
        for draft in (plain.tokens, plain.tokens[:3], tuple(wrong), too_long, (END,), (400,) * 300):
            requests.append(Request(clip, draft=draft))
            expected.append(plain)
    for heard, plain in zip(model.decode(requests), expected, strict=True):
        assert same(heard, plain)


def test_a_prefix_is_kept_and_what_follows_it_is_greedy(
    model: Model, tokenizer: Tokenizer, clips: list[Audio], alone: list[Hypothesis]
) -> None:
    plain = alone[0]
    own, other = plain.tokens[:9], tokenizer.encode("It was the West of times,")
    (continued, turned, drafted) = model.decode(
        [
            Request(clips[0], prefix=own),
            Request(clips[0], prefix=other),
            Request(clips[0], prefix=own, draft=plain.tokens[9:14]),
        ]
    )
    assert continued.tokens == plain.tokens
    assert continued.logprobs == (0.0,) * 9 + plain.logprobs[9:]
    assert turned.tokens[: len(other)] == other
    assert len(turned.tokens) > len(other) + 5
    assert same(drafted, continued)


def test_the_number_of_tokens_is_capped(model: Model, tokenizer: Tokenizer, excerpt: Excerpt) -> None:
    prefix = tokenizer.encode("one two three four five six seven eight nine ten eleven twelve")
    cut, full = model.decode(
        [
            Request(excerpt("beckett.wav", 0, 2), prefix=prefix[:11]),
            Request(excerpt("beckett.wav", 0, 2), prefix=prefix * 2),
        ]
    )
    assert len(cut.tokens) <= 13
    assert full.tokens == prefix * 2  # the prefix is not cut, and nothing is added to it
    assert full.truncated


def test_a_loop_is_cut(
    model: Model, clips: list[Audio], alone: list[Hypothesis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stream_server.engine.moonshine.request.find_loop", lambda tokens: 4 if len(tokens) == 9 else None
    )
    heard, forced = model.decode([Request(clips[0], align=True), Request(clips[0], prefix=alone[0].tokens[:6])])
    assert heard.looped
    assert heard.tokens == alone[0].tokens[:4]
    assert heard.logprobs == alone[0].logprobs[:4]
    assert heard.attention is not None
    assert heard.attention.shape == (2, 4, heard.frames)
    assert forced.looped
    assert forced.tokens == alone[0].tokens[:6]  # a prefix was promised, and stays


def test_no_speech_and_next_to_nothing(model: Model) -> None:
    clips = [np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(SAMPLE_RATE, np.float32)]
    for heard in model.decode([Request(clip, align=True) for clip in clips]):
        assert len(heard.tokens) <= 6
        assert heard.frames > 0
    assert model.decode([]) == []


@pytest.mark.parametrize(
    "audio",
    [np.zeros(MAXIMUM_SAMPLES + 1, np.float32), np.zeros((2, 100), np.float32), np.array([0, np.nan, 0], np.float32)],
)
def test_a_clip_that_cannot_be_decoded_is_an_error(model: Model, audio: Audio) -> None:
    with pytest.raises(ValueError, match="a clip is"):
        model.decode([Request(audio)])


def test_attention_has_a_row_for_every_token(alone: list[Hypothesis]) -> None:
    for heard in alone:
        assert heard.attention is not None
        assert heard.attention.shape == (2, len(heard.tokens), heard.frames)
        np.testing.assert_allclose(heard.attention.sum(axis=2), 1, atol=1e-4)


def test_probabilities_are_probabilities(alone: list[Hypothesis]) -> None:
    assert all(logprob <= 0 for heard in alone for logprob in heard.logprobs)
    assert np.exp(np.mean(alone[0].logprobs)) > 0.7
    assert np.exp(np.mean(alone[0].logprobs)) > np.exp(np.mean(alone[3].logprobs or (-9.0,)))


def test_says_what_the_shipped_decoder_says(
    model: Model, tokenizer: Tokenizer, assets: Assets, clips: list[Audio]
) -> None:
    """Both are 8-bit roundings of one network, so that a doubtful word may differ: at most one in ten here."""
    reference = _Shipped(assets.encoder, assets.decoder)
    matched = words = 0
    for index in (0, 1, 4, 6):
        tokens = reference.decode(clips[index]), model.decode([Request(clips[index])])[0].tokens
        said, ours = (re.findall(r"[a-z']+", tokenizer.decode(each).lower()) for each in tokens)
        matched += sum(block.size for block in difflib.SequenceMatcher(a=said, b=ours).get_matching_blocks())
        words += max(len(said), len(ours))
    assert words > 40
    assert matched >= 0.9 * words


class _Shipped:
    """The `.ort` files as they came, decoded greedily."""

    def __init__(self, encoder: Path, decoder: Path) -> None:
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (encoder, decoder)
        )

    def decode(self, audio: Audio) -> list[int]:
        mask = np.ones((1, len(audio)), np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": audio[None], "attention_mask": mask})
        past = {
            f"past_key_values.{layer}.{side}.{part}": np.zeros((1, 8, 0 if side == "decoder" else 1, 36), np.float32)
            for layer in range(6)
            for side in ("decoder", "encoder")
            for part in ("key", "value")
        }
        tokens = [START]
        while len(tokens) < 6.5 * len(audio) / SAMPLE_RATE:
            feed = {
                "input_ids": np.array([tokens[-1:]]),
                "encoder_hidden_states": hidden,
                "encoder_attention_mask": mask,
            }
            feed["use_cache_branch"] = np.array([len(tokens) > 1])
            names = [output.name for output in self._decoder.get_outputs()]
            result = dict(zip(names, self._decoder.run(None, feed | past), strict=True))
            token = int(result["logits"][0, -1].argmax())
            if token == END:
                break
            for name in past:
                if ".decoder." in name or len(tokens) == 1:
                    past[name] = result[name.replace("past_key_values", "present")]
            tokens.append(token)
        return tokens[1:]
