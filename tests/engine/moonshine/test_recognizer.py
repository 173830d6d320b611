"""Moonshine behind the engine's interface. What depends on tuning is not asserted: only what is promised of any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream_server.engine.recognizer import Kind, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import SAMPLE_RATE, Audio, Hypothesis, StreamOptions
from tests.support.speech import moonshine, recording

OPTIONS = StreamOptions("en")
SPEECH = recording("two_cities.wav")[: 6 * SAMPLE_RATE]
STEP = moonshine().info.step_samples


def stream() -> Stream:
    return moonshine().new_stream(Slot(0, 1))


def read(
    caller: Stream, audio: Audio, kind: Kind = Kind.FINAL, *, segment: int = 0, start: int = 0, words: bool = True
) -> Hypothesis:
    (hypothesis,) = moonshine().step([Task(caller, kind, segment, start, audio, replace(OPTIONS, words=words))])
    return hypothesis


def steps(caller: Stream, audio: Audio, *, segment: int = 0) -> list[Hypothesis]:
    ends = range(STEP, len(audio) + 1, STEP)
    return [read(caller, audio[:end], Kind.STEP, segment=segment) for end in ends]


def test_a_final_alone() -> None:
    final = read(stream(), SPEECH, start=7 * SAMPLE_RATE)
    assert "times" in final.text.lower()
    assert final.stable_chars == len(final.text)
    assert 0 < final.confidence <= 1
    assert final.words is not None
    assert " ".join(word.word for word in final.words) == final.text
    edges = [edge for word in final.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 7 * SAMPLE_RATE
    assert edges[-1] <= 7 * SAMPLE_RATE + len(SPEECH)


def test_words_only_where_they_are_asked_for() -> None:
    assert read(stream(), SPEECH, words=False).words is None
    assert read(stream(), np.zeros(SAMPLE_RATE, np.float32)).words == ()


@pytest.mark.parametrize("level", [0.0, 0.01, 0.1])
def test_nothing_is_said_where_nothing_was(level: float) -> None:
    noise = np.random.default_rng(3).normal(0, level, 3 * SAMPLE_RATE).astype(np.float32)
    final = read(stream(), noise)
    assert (final.text, final.stable_chars, final.confidence) == ("", 0, 0.0)


@pytest.mark.parametrize("samples", [1, 100, 1600])
def test_next_to_no_audio(samples: int) -> None:
    for kind in Kind:
        read(stream(), np.zeros(samples, np.float32), kind)


def test_what_is_stable_stays() -> None:
    caller = stream()
    hypotheses = [*steps(caller, SPEECH), read(caller, SPEECH, Kind.PREVIEW), read(caller, SPEECH)]
    stable = ""
    for hypothesis in hypotheses:
        assert hypothesis.text.startswith(stable)
        assert hypothesis.stable_chars >= len(stable)
        stable = hypothesis.text[: hypothesis.stable_chars]
    assert len(hypotheses[-3].text) > hypotheses[-3].stable_chars > 0


def test_words_asked_for_after_a_preview_come_all_the_same() -> None:
    caller = stream()
    read(caller, SPEECH, Kind.PREVIEW, words=False)
    final = read(caller, SPEECH, words=True)
    assert final.words
    assert " ".join(word.word for word in final.words) == final.text


def test_partials_change_nothing() -> None:
    """Which partials there is time for depends on the load: what is committed, and the final, must not."""
    plain, busy = stream(), stream()
    expected = [*steps(plain, SPEECH), read(plain, SPEECH)]
    seen = []
    for end in range(STEP, len(SPEECH) + 1, STEP):
        read(busy, SPEECH[: end - STEP // 2], Kind.PARTIAL)
        seen.append(read(busy, SPEECH[:end], Kind.STEP))
        read(busy, SPEECH[: min(len(SPEECH), end + STEP // 4)], Kind.PARTIAL)
    seen.append(read(busy, SPEECH))
    assert seen == expected


def test_segments_of_a_stream_know_nothing_of_each_other() -> None:
    caller = stream()
    other = recording("beckett.wav")[: 4 * SAMPLE_RATE]
    steps(caller, other, segment=0)
    read(caller, other, segment=0)
    assert [*steps(caller, SPEECH, segment=1), read(caller, SPEECH, segment=1)] == [
        *steps(fresh := stream(), SPEECH, segment=1),
        read(fresh, SPEECH, segment=1),
    ]


def test_a_step_that_fails_changes_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the engine may try again, one by one."""
    caller, twin = stream(), stream()
    for each in (caller, twin):
        steps(each, SPEECH[: 3 * SAMPLE_RATE])
    with monkeypatch.context() as broken:
        broken.setattr(moonshine()._model, "decode", lambda requests: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            read(caller, SPEECH[: 4 * SAMPLE_RATE], Kind.STEP)
    assert read(caller, SPEECH) == read(twin, SPEECH)
