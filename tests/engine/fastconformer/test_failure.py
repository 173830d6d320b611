"""What fails in a step of the streaming recognizer: it fails alone."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_server.engine.fastconformer.program import Program
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.work import Failure
from tests.engine.fastconformer.hearing import SETTINGS, Caller, engine, hear, load, noise, segment


def test_audio_that_is_no_number_fails_alone_and_leaves_nothing(
    recognizer: FastConformerRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = noise(2.0, 1), noise(2.0, 2)
    bad[17_000] = np.nan
    expected = hear(recognizer, good)[0].finals[0].text
    with caplog.at_level(logging.CRITICAL + 1):
        callers = hear(recognizer, good, bad, good)
    assert [caller.finals[0].text for caller in (callers[0], callers[2])] == [expected] * 2
    assert any(isinstance(outcome, Failure) and "finite" in outcome.reason for outcome in callers[1].outcomes)
    loud = hear(recognizer, noise(1.0, 3) * np.float32(1e30))
    assert loud[0].finals[0].confidence <= 1
    assert [caller.finals[0].text for caller in hear(recognizer, *[good] * 8)] == [expected] * 8


def test_a_part_of_a_batch_that_fails_harms_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Parts that have been run must not be run again, and streams of the part that failed begin anew."""
    audios = [noise(4.0, 40 + seed) for seed in range(6)]
    expected = [caller.finals[0].text for caller in hear(load(folder), *audios)]
    recognizer = load(folder, settings=replace(SETTINGS, max_batch_frames=14))  # parts of 2 at 7 frames
    run, runs = Program.run, 0

    def sometimes(program: Program, chunks: Any) -> Any:
        nonlocal runs
        runs += 1
        found = run(program, chunks)
        if runs == 5:  # the second part of the second step, when the state has been written
            raise RuntimeError("out of luck")
        return found

    monkeypatch.setattr(Program, "run", sometimes)
    with caplog.at_level(logging.CRITICAL + 1):
        callers = hear(recognizer, *audios)
    assert [caller.finals[0].text for caller in (*callers[:2], *callers[4:])] == [*expected[:2], *expected[4:]]
    for caller in callers[2:4]:
        assert any(isinstance(outcome, Failure) and "luck" in outcome.reason for outcome in caller.outcomes)
    assert [caller.finals[0].text for caller in hear(recognizer, *audios)] == expected


def test_audio_that_is_no_number_in_a_later_part_changes_nothing_for_the_others(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audios = [noise(3.0, 50 + seed) for seed in range(5)]
    expected = [caller.finals[0].text for caller in hear(load(folder), *audios)]
    audios[4][20_000:] = np.inf
    with caplog.at_level(logging.CRITICAL + 1):
        callers = hear(load(folder, settings=replace(SETTINGS, max_batch_frames=14)), *audios)
    assert [caller.finals[0].text for caller in callers[:4]] == expected[:4]


def test_what_follows_a_chunk_that_failed_harms_no_other(
    recognizer: FastConformerRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    """Many chunks wait behind the one that fails, and the next segment of the same stream is sound again."""
    good, bad = noise(5.0, 1), noise(5.0, 2)
    bad[17_000] = np.nan
    made = engine(recognizer)
    callers = [Caller(made, chunk_samples=8960) for _ in range(4)]
    with caplog.at_level(logging.CRITICAL + 1):
        for caller, audio in zip(callers, (good, bad, good, good), strict=True):
            caller.stream.submit(segment(audio) + segment(good, number=1, start=100_000))
        while made.step():
            pass
    for caller in (callers[0], callers[2], callers[3]):
        assert [final.text for final in caller.finals] == [
            hear(recognizer, good, chunk_samples=8960)[0].finals[0].text
        ] * 2
    assert sum(isinstance(outcome, Failure) for outcome in callers[1].outcomes) == 1
    assert [final.text for final in callers[1].finals] == [callers[0].finals[0].text], "no final for what failed"
    for caller in callers:
        caller.stream.close()
