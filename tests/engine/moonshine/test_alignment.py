import shutil

import numpy as np
import pytest

from bench.alignment import SENTENCES, Condition, build, measure
from stream_server.engine.moonshine.alignment import align_words
from stream_server.engine.moonshine.architecture import FIRST_CENTER, HOP
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.request import SAMPLE_RATE, Request
from stream_server.engine.moonshine.tokenizer import Tokenizer
from tests.engine.moonshine.conftest import Excerpt


def test_words_stand_where_attention_and_energy_agree() -> None:
    random = np.random.default_rng(0)
    audio = (random.standard_normal(3 * SAMPLE_RATE) * 1e-3).astype(np.float32)
    spoken = [(8_000, 14_000), (14_000, 20_000), (28_000, 36_000)]
    attention = np.full((2, 4, 120), 1e-4, np.float32)
    words = [("a", 0, 1), ("b", 1, 3), ("c", 3, 4)]
    for (start, end), (_, first, last) in zip(spoken, words, strict=True):
        audio[start:end] += random.standard_normal(end - start).astype(np.float32) * 0.2
        attention[0, first, round((start - FIRST_CENTER) / HOP)] = 0.9
        attention[1, last - 1, round((end - FIRST_CENTER) / HOP)] = 0.9
    placed = align_words(words, attention, audio)
    assert [word for word, _, _ in placed] == ["a", "b", "c"]
    for (_, start, end), truth in zip(placed, spoken, strict=True):
        assert (start, end) == pytest.approx(truth, abs=400)


def test_attention_that_says_nothing_still_gives_ordered_times() -> None:
    for count, samples in ((1, 10), (3, 300), (9, 4_000), (200, 16_000), (2, 0)):
        words = [(str(index), index, index + 1) for index in range(count)]
        placed = align_words(words, np.zeros((2, count, 9), np.float32), np.zeros(samples, np.float32))
        times = [time for _, start, end in placed for time in (start, end)]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= samples
    assert align_words([], np.zeros((2, 0, 9), np.float32), np.zeros(1_000, np.float32)) == []


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words_of_known_times(model: Model, tokenizer: Tokenizer) -> None:
    random = np.random.default_rng(3)
    errors: list[tuple[float, float]] = []
    said = 0
    for index, sentence in enumerate(SENTENCES[:8]):
        speech = build(sentence, ("en-us", "en-gb")[index % 2], 150, random, Condition(gap_ms=300 * (index % 2)))
        said += len(speech.words)
        errors += measure(speech, model, tokenizer)
    assert len(errors) > 0.6 * said
    start, end = np.median(np.abs(errors), axis=0)
    assert start <= 50
    assert end <= 50


@pytest.mark.parametrize(
    ("name", "start", "end"), [("two_cities.wav", 0, 12), ("two_cities.wav", 25, 44), ("beckett.wav", 0, 9.9)]
)
def test_times_of_real_speech(
    name: str, start: float, end: float, model: Model, tokenizer: Tokenizer, excerpt: Excerpt
) -> None:
    audio = excerpt(name, start, end)
    (heard,) = model.decode([Request(audio, align=True)])
    assert heard.attention is not None
    words = tokenizer.group(heard.tokens)
    placed = align_words(words, heard.attention, audio)
    assert [word for word, _, _ in placed] == [word for word, _, _ in words]
    times = [time for _, first, last in placed for time in (first, last)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= len(audio)
    durations = np.array([last - first for _, first, last in placed]) / SAMPLE_RATE
    assert durations.min() > 0.04
    assert np.median(durations) < 0.5
    # Speech is loud, and the words are where it is.
    spoken = np.zeros(len(audio), bool)
    for _, first, last in placed:
        spoken[first:last] = True
    assert (audio[spoken] ** 2).mean() > 5 * (audio[~spoken] ** 2).mean()
