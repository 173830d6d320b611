"""Minutes of speech through one session, as fast as it goes: times stay exact, text stays good, nothing piles up.

The hour is measured by ``bench/hour.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_server.engine.work import SAMPLE_RATE
from tests.support.driven import Driven
from tests.support.speech import moonshine, pcm, recording

LOOPS = 6
SETTLED = 2
"""Loops after which the detector, which adapts to what it hears, has heard enough of this to repeat itself."""

LOOP_SEC = 45


def loop() -> bytes:
    """Recordings of the wheel, with silence between them."""
    samples = np.zeros(LOOP_SEC * SAMPLE_RATE, np.float32)
    beckett, cities = recording("beckett.wav"), recording("two_cities.wav")[: 20 * SAMPLE_RATE]
    samples[: len(beckett)] = beckett
    samples[12 * SAMPLE_RATE :][: len(cities)] = cities
    return pcm(samples)


def what_is_kept(made: Driven) -> tuple[object, ...]:
    lane, planner = made.session._lanes[0], made._streams[0].planner
    return (
        len(lane.channel.segmenter._audio) <= 4 * SAMPLE_RATE,
        len(lane.arrivals) <= 4096,
        lane.channel.undetected,
        len(made.session._segments),
        len(made.session._waits),
        len(planner._segments),
        planner.backlog,
        made.engine.waiting,
    )


@pytest.fixture(scope="module")
def played() -> tuple[Driven, list[tuple[object, ...]]]:
    """The session after all loops, and what it kept after each."""
    made = Driven(moonshine(), dtype="int16", partials=False)
    audio, kept = loop(), []
    for _ in range(LOOPS):
        made.play(audio)
        kept.append(what_is_kept(made))
    made.end()
    return made, kept


def of_loop(made: Driven, number: int) -> list[dict[str, Any]]:
    """The finals of one loop, with the times they would have in the first."""
    begin = number * LOOP_SEC * 1000
    return [
        {
            "text": final["text"],
            "offset_ms": final["offset_ms"] - begin,
            "duration_ms": final["duration_ms"],
            "confidence": final["confidence"],
            "words": [(word["word"], word["start_ms"] - begin, word["end_ms"] - begin) for word in final["words"]],
        }
        for final in made.finals
        if begin <= final["offset_ms"] < begin + LOOP_SEC * 1000
    ]


def test_the_same_speech_gives_the_same_words_at_the_same_times_however_late(
    played: tuple[Driven, list[tuple[object, ...]]],
) -> None:
    made, _ = played
    settled = of_loop(made, SETTLED)
    assert "best of times" in " ".join(final["text"] for final in settled).lower()
    for number in range(SETTLED + 1, LOOPS):
        assert of_loop(made, number) == settled
    first = of_loop(made, 0)
    assert len(first) == len(settled)
    assert [len(final["text"].split()) for final in first] == [len(final["text"].split()) for final in settled]
    assert made.of("done")[0]["total_audio_duration_sec"] == LOOPS * LOOP_SEC


def test_what_is_kept_does_not_grow(played: tuple[Driven, list[tuple[object, ...]]]) -> None:
    """Audio, arrivals, questions, segments, flushes, jobs: after every loop the same. Only the transcript grows."""
    _, kept = played
    assert kept == [(True, True, 0, 0, 0, 0, 0, 0)] * LOOPS
