"""Keyterms through the whole recognizer: favoured for the caller who asks, and for nobody else."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from dataclasses import replace
from pathlib import Path

from stream_server.engine.fastconformer.keyterm import KeytermSettings
from stream_server.engine.work import ConfigureStream, StreamOptions
from tests.engine.fastconformer.hearing import SETTINGS, Caller, engine, hear, load, noise, segment


def test_keyterms_raise_a_phrase_and_leave_the_others_alone(folder: Path) -> None:
    recognizer = load(folder, settings=replace(SETTINGS, keyterms=KeytermSettings(bonus=30.0)))
    audios = [noise(5.0, seed) for seed in range(3)]
    plain = [caller.finals[0] for caller in hear(recognizer, *audios)]
    made = engine(recognizer)
    terms: tuple[tuple[str, ...], ...] = ((), ("two cats",), ())
    callers = [Caller(made, keyterms=each) for each in terms]
    for caller, audio in zip(callers, audios, strict=True):
        caller.stream.submit(segment(audio))
    while made.step():
        pass
    found = [caller.finals[0] for caller in callers]
    assert (found[0], found[2]) == (plain[0], plain[2])
    assert "two cats" not in plain[1].text
    assert "two cats" in found[1].text
    for caller in callers:
        caller.stream.close()
    # The next caller of the slot has no keyterms.
    assert [caller.finals[0] for caller in hear(recognizer, *audios)] == plain


def test_keyterms_change_with_the_next_segment(folder: Path) -> None:
    recognizer = load(folder, settings=replace(SETTINGS, keyterms=KeytermSettings(bonus=30.0)))
    audio = noise(5.0, 1)
    made = engine(recognizer)
    caller = Caller(made)
    options = StreamOptions("auto", keyterms=("two cats",))
    first, second = segment(audio), segment(audio, number=1, start=len(audio) + 1000)
    for commands in (first[:20], [ConfigureStream(options), *first[20:]], second):
        caller.stream.submit(commands)
        while made.step():
            pass
    assert caller.finals[0] == hear(recognizer, audio)[0].finals[0]
    assert "two cats" in caller.finals[1].text


def test_more_keyterms_than_there_is_room_for_are_left_out_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(SETTINGS, keyterms=KeytermSettings(bonus=30.0, max_edges=40))
    recognizer = load(folder, settings=settings)
    terms = ("two cats", *("the dog " * count for count in range(1, 20)))
    callers = hear(recognizer, noise(5.0, 1), keyterms=terms)
    assert "keyterms: room for" in caplog.text
    assert "two cats" in callers[0].finals[0].text, "the first ones stay"
