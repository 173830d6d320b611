"""Conversations that are made: as much overlap as is wanted, and turns where the sound is."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bench.conversation import Conversation, converse, load_speakers
from bench.labelled_speech import HOP, RATE, hop_energy, rms

PITCHES = {"bass": 300.0, "tenor": 700.0, "alto": 1500.0, "soprano": 2600.0}


def phrase(hertz: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    count = round(seconds * RATE)
    tone = np.sin(2 * np.pi * hertz * np.arange(count) / RATE) * rng.uniform(0.8, 1.0)
    return (0.1 * tone).astype(np.float32)


def recording(hertz: float, seed: int, phrases: int = 8) -> NDArray[np.float32]:
    """Phrases of one pitch, with pauses in which hardly anything is heard."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(phrases):
        parts += [np.zeros(round(rng.uniform(0.4, 0.9) * RATE), np.float32), phrase(hertz, rng.uniform(0.5, 2.5), rng)]
    whole = np.concatenate(parts)
    whole.resize(-(-len(whole) // RATE) * RATE)
    return (whole + 1e-5 * rng.standard_normal(len(whole))).astype(np.float32)


def held(hertz: float, seconds: float) -> NDArray[np.float32]:
    """One phrase, with silence around it."""
    silence = np.zeros(2 * RATE, np.float32)
    return np.concatenate([silence, phrase(hertz, seconds, np.random.default_rng(1)), silence])


@pytest.fixture(scope="module")
def speakers() -> dict[str, list[NDArray[np.float32]]]:
    return {name: [recording(hertz, number) for number in range(2)] for name, hertz in PITCHES.items()}


@pytest.fixture(scope="module", params=[2, 3, 4])
def conversation(request: pytest.FixtureRequest, speakers: dict[str, list[NDArray[np.float32]]]) -> Conversation:
    return converse(speakers, request.param, 120, np.random.default_rng(request.param))


def spoken(conversation: Conversation, speaker: str) -> NDArray[np.bool_]:
    """Hops in which somebody speaks by the truth."""
    mask = np.zeros(len(conversation.audio) // HOP, bool)
    for start, end, name in conversation.turns:
        if name == speaker:
            mask[start // HOP : end // HOP] = True
    return mask


def loud(conversation: Conversation, speaker: str) -> NDArray[np.bool_]:
    """Hops in which his pitch is heard."""
    hops = len(conversation.audio) // HOP
    spectrum = np.abs(np.fft.rfft(conversation.audio[: hops * HOP].reshape(hops, HOP) * np.hanning(HOP), axis=1))
    mask: NDArray[np.bool_] = spectrum[:, round(PITCHES[speaker] * HOP / RATE)] > 0.1
    return mask


def test_turns_are_where_somebody_is_heard(conversation: Conversation) -> None:
    """But for the hops at the borders."""
    for speaker in {name for _, _, name in conversation.turns}:
        truth, sound = spoken(conversation, speaker), loud(conversation, speaker)
        assert (truth & sound).sum() > 0.95 * truth.sum()
        assert (truth & sound).sum() > 0.97 * sound.sum()


def test_so_much_is_said_by_two_as_is_wanted(conversation: Conversation) -> None:
    assert conversation.overlap == pytest.approx(0.1, abs=0.04)
    names = {name for _, _, name in conversation.turns}
    both = sum((spoken(conversation, one) & spoken(conversation, two)).sum() for one, two in combinations(names, 2))
    anybody = np.any([spoken(conversation, name) for name in names], axis=0).sum()
    assert conversation.overlap == pytest.approx(both / anybody, abs=0.01)


@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_another_overlap(overlap: float, speakers: dict[str, list[NDArray[np.float32]]]) -> None:
    made = converse(speakers, 3, 60, np.random.default_rng(1), overlap=overlap)
    assert made.overlap == pytest.approx(overlap, abs=0.08 if overlap else 0)


def test_everybody_is_heard_and_it_lasts_about_so_long(conversation: Conversation) -> None:
    assert conversation.speakers == len({name for _, _, name in conversation.turns}) in (2, 3, 4)
    assert 120 <= conversation.seconds < 135
    assert list(conversation.turns) == sorted(conversation.turns)
    assert np.abs(conversation.audio).max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_nobody_speaks_over_himself(seed: int) -> None:
    """Not even where somebody else interrupts him with a word."""
    speakers = {"long": [held(300.0, 9)], "short": [held(900.0, 0.3)]}
    made = converse(speakers, 2, 90, np.random.default_rng(seed), overlap=0.5)
    end: dict[str, int] = {}
    for start, stop, name in made.turns:
        assert start >= end.get(name, 0)
        end[name] = stop


def test_a_long_stretch_without_a_pause_has_room() -> None:
    speakers = {name: [held(hertz, 45)] for name, hertz in PITCHES.items()}
    made = converse(speakers, 2, 5, np.random.default_rng(1))
    assert made.turns[-1][1] <= len(made.audio)


def test_the_seed_decides(speakers: dict[str, list[NDArray[np.float32]]]) -> None:
    one, same, other = (converse(speakers, 2, 20, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one.turns == same.turns != other.turns
    assert np.array_equal(one.audio, same.audio)


def test_by_telephone_it_lasts_as_long_and_has_no_high_tones(conversation: Conversation) -> None:
    heard = conversation.by_telephone()
    assert len(heard.audio) == len(conversation.audio)
    assert heard.turns == conversation.turns
    spectrum = np.abs(np.fft.rfft(heard.audio)) ** 2
    above = round(4200 * len(heard.audio) / RATE)
    assert spectrum[above:].sum() < 0.001 * spectrum.sum()
    before, after = (np.sqrt(hop_energy(audio)) for audio in (conversation.audio, heard.audio))
    assert np.corrcoef(before, after)[0, 1] > 0.99, "it is where it was"


def test_speakers_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    for name in ("12-1-0000.flac", "12-1-0001.flac", "7-3-0000.flac", "notes.flac"):
        soundfile.write(tmp_path / name, 0.3 * recording(500.0, 1, 3), RATE)
    (tmp_path / "12-1-0000.txt").touch()
    found = load_speakers(tmp_path)
    assert {name: len(recordings) for name, recordings in found.items()} == {"12": 2, "7": 1}
    assert rms(found["7"][0]) == pytest.approx(10 ** (-26 / 20), rel=1e-3)
