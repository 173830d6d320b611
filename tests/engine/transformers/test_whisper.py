"""Real weights on real speech: Whisper tiny.en, by itself and behind the whole server."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.recognizer import Kind, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.transformers.recognizer import (
    TransformersRecognizer,
    load_transformers_recognizer,
)
from stream_server.engine.transformers.settings import TransformersSettings
from stream_server.engine.work import SAMPLE_RATE, Audio, Hypothesis, StreamOptions
from tests.support.caller import transcribe
from tests.support.running import running_server
from tests.support.speech import pcm, recording
from tests.support.whisper import whisper_checkpoint

TWO_CITIES = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season
of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing before
us, we were all going direct to Heaven, we were all going direct the other way - in short, the period was so far like
the present period, that some of its noisiest authorities insisted on its being received, for good or for evil, in the
superlative degree of comparison only."""
OPENING, OPENING_TEXT = 17 * SAMPLE_RATE // 2, TWO_CITIES[: TWO_CITIES.index(" it was the epoch")]
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."

SETTINGS = TransformersSettings(step_samples=4 * SAMPLE_RATE, max_batch=1)
OPTIONS = StreamOptions("en", partial_samples=2 * SAMPLE_RATE)


@cache
def whisper() -> TransformersRecognizer:
    return load_transformers_recognizer("openai/whisper-tiny.en", whisper_checkpoint(), "cpu", SETTINGS)


def stream() -> Stream:
    return whisper().new_stream(Slot(0, 1))


def read(*clips: Audio, caller: Stream | None = None, kind: Kind = Kind.FINAL) -> list[Hypothesis]:
    return whisper().step([Task(caller or stream(), kind, 0, 0, clip, OPTIONS) for clip in clips])


def halves() -> tuple[Audio, Audio]:
    """The longer recording, which is longer than the model's window, cut at the quietest tenth of a second."""
    audio = recording("two_cities.wav")
    loudness = np.abs(audio[18 * SAMPLE_RATE : 26 * SAMPLE_RATE]).reshape(-1, SAMPLE_RATE // 10).sum(axis=1)
    cut = 18 * SAMPLE_RATE + int(loudness.argmin()) * SAMPLE_RATE // 10 + SAMPLE_RATE // 20
    return audio[:cut], audio[cut:]


def word_errors(expected: str, heard: str) -> float:
    """Insertions, deletions and substitutions for each expected word (Levenshtein)."""
    reference, hypothesis = (re.findall(r"[a-z']+", text.lower()) for text in (expected, heard))
    row = list(range(len(hypothesis) + 1))
    for count, word in enumerate(reference, 1):
        before, row = row, [count]
        for at, other in enumerate(hypothesis):
            row.append(min(row[at] + 1, before[at + 1] + 1, before[at] + (word != other)))
    return row[-1] / len(reference)


def test_real_speech_is_understood() -> None:
    first, second, beckett = read(*halves(), recording("beckett.wav"))
    assert word_errors(TWO_CITIES, f"{first.text} {second.text}") <= 0.1
    assert word_errors(BECKETT, beckett.text) <= 0.1
    assert {hypothesis.language for hypothesis in (first, second, beckett)} == {"en"}
    assert beckett.words is not None
    assert " ".join(word.word for word in beckett.words) == beckett.text
    edges = [edge for word in beckett.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    at = {word.word.lower(): word.start / SAMPLE_RATE for word in beckett.words}
    assert at["tried,"] == pytest.approx(0.59, abs=0.4)  # as the embedded model has it
    assert at["matter,"] == pytest.approx(3.74, abs=0.4)
    assert at["better."] == pytest.approx(8.47, abs=0.4)


def test_what_is_stable_stays() -> None:
    caller, speech = stream(), recording("two_cities.wav")[:OPENING]
    hypotheses = [
        read(speech[:end], caller=caller, kind=Kind.STEP)[0] for end in range(32_000, len(speech) + 1, 32_000)
    ]
    hypotheses += read(speech, caller=caller)
    stable = ""
    for hypothesis in hypotheses:
        assert hypothesis.text.startswith(stable)
        stable = hypothesis.text[: hypothesis.stable_chars]
    assert 0 < hypotheses[-2].stable_chars < len(hypotheses[-2].text)
    assert word_errors(OPENING_TEXT, hypotheses[-1].text) <= 0.15


def test_nothing_is_said_where_nothing_was() -> None:
    random = np.random.default_rng(3)
    noises = [random.normal(0, level, 3 * SAMPLE_RATE).astype(np.float32) for level in (0.0, 0.03)]
    assert [hypothesis.text for hypothesis in read(*noises)] == ["", ""]


async def test_the_whole_server_with_it() -> None:
    speech = recording("two_cities.wav")[:OPENING]
    async with running_server(whisper()) as server:
        caller = await transcribe(server.ws_url, pcm(speech), {"dtype": "int16", "chunk_size_sec": 4.0})
    text = " ".join(final["text"] for final in caller.finals)
    assert word_errors(OPENING_TEXT, text) <= 0.15
    assert caller.of("ready")[0]["model"] == "openai/whisper-tiny.en"
    assert all(word["end_ms"] >= word["start_ms"] for final in caller.finals for word in final["words"])
