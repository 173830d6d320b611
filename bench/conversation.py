"""Conversations with known turns, made of real recordings of single speakers. It does not know what is measured.

A turn is a stretch of one recording as it was spoken, its pauses included; where it is speech is told by the energy of
the recording by itself (`labelled_speech.label`) above the rumble of the room, so no model has a part in it. Between
turns are pauses, or the next one begins before the last has ended, so often that the wanted share of the speech is said
by two at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.labelled_speech import (
    HOP,
    RATE,
    ROOM_DBFS,
    SPEECH_DBFS,
    Audio,
    close_gaps,
    decibels,
    label,
    load,
    rms,
    telephone,
)
from stream_server.speakers.span import runs

PAUSE_SEC: Final = (0.1, 1.2)
OVERLAP_SEC: Final = (0.5, 2.0)
STRETCH_SEC: Final = (1.5, 10.0)
LEVEL_DB: Final = 3.0
"""By how much speakers are louder or softer than the usual level."""
RUMBLE_HZ: Final = 100
GAP_HOPS: Final = 25
"""Pauses of fewer hops of 10 ms belong to a turn."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """``audio`` is [n] float32 at 16 kHz; ``turns`` are (start, end, speaker) in samples, in order of time."""

    audio: Audio
    turns: tuple[tuple[int, int, str], ...]

    @property
    def speakers(self) -> int:
        return len({speaker for _, _, speaker in self.turns})

    @property
    def seconds(self) -> float:
        return len(self.audio) / RATE

    @property
    def overlap(self) -> float:
        """Share of the speech that is said by two or more at a time."""
        counts = np.zeros(len(self.audio) // HOP + 1, np.int16)
        for start, end, _ in self.turns:
            counts[start // HOP : end // HOP] += 1
        return float((counts > 1).sum() / max(1, (counts > 0).sum()))

    def by_telephone(self) -> Conversation:
        """The same through 8 kHz mu-law."""
        return Conversation(telephone(self.audio), self.turns)


def load_speakers(folder: Path) -> dict[str, list[Audio]]:
    """The recordings of each speaker of a folder in LibriSpeech's naming, SPEAKER-CHAPTER-NUMBER.flac."""
    speakers: dict[str, list[Audio]] = {}
    for path in sorted(folder.glob("*-*-*.flac")):
        audio = load(path)
        speakers.setdefault(path.name.partition("-")[0], []).append(audio / rms(audio) * decibels(SPEECH_DBFS))
    return speakers


def converse(
    speakers: Mapping[str, Sequence[Audio]],
    count: int,
    seconds: float,
    rng: np.random.Generator,
    *,
    overlap: float = 0.1,
) -> Conversation:
    """A conversation of ``count`` of the speakers that lasts about ``seconds``.

    Who speaks next is anybody but the one who spoke last, so that each is heard a few times in a minute.
    """
    names = [str(name) for name in rng.permutation(sorted(speakers))[:count]]
    levels = {name: decibels(rng.uniform(-LEVEL_DB, LEVEL_DB)) for name in names}
    longest = max(len(recording) for name in names for recording in speakers[name])
    audio = np.zeros(round((seconds + PAUSE_SEC[1] + 1) * RATE) + longest, np.float32)
    turns: list[tuple[int, int, str]] = []
    end = last_start = 0
    spoken = shared = 0
    speaker = ""
    while end < seconds * RATE:
        others = [name for name in names if name != speaker]
        unheard = [name for name in others if name not in {turn[2] for turn in turns}]
        speaker = str(rng.choice(unheard or others))
        stretch, speech = _stretch(speakers[speaker], rng)
        if turns and shared < overlap * spoken:
            own = max((stop for _, stop, name in turns if name == speaker), default=0)  # nobody speaks over himself
            start = max(own, last_start + RATE // 2, end - round(rng.uniform(*OVERLAP_SEC) * RATE))
        else:
            start = end + round(rng.uniform(*PAUSE_SEC) * RATE)
        start = start // HOP * HOP
        shared += max(0, end - start)
        spoken += len(stretch)
        audio[start : start + len(stretch)] += stretch * levels[speaker]
        turns += [(start + first * HOP, start + last * HOP, speaker) for first, last in speech]
        last_start, end = start, max(end, start + len(stretch))
    audio = audio[: end + RATE]
    room = rng.standard_normal(len(audio)).astype(np.float32) * decibels(ROOM_DBFS)
    return Conversation((audio + room).clip(-1, 1), tuple(sorted(turns)))


def _stretch(recordings: Sequence[Audio], rng: np.random.Generator) -> tuple[Audio, list[tuple[int, int]]]:
    """Some seconds of one of the recordings, from one pause to another, and where in it is speech, in hops."""
    recording = recordings[int(rng.integers(len(recordings)))]
    phrases = runs(close_gaps(label(_without_rumble(recording)), GAP_HOPS))
    first = int(rng.integers(len(phrases)))
    wanted = rng.uniform(*STRETCH_SEC) * RATE / HOP
    last = first
    while last + 1 < len(phrases) and phrases[last + 1][1] - phrases[first][0] <= wanted:
        last += 1
    begin, stop = phrases[first][0], phrases[last][1]
    return _faded(recording[begin * HOP : stop * HOP]), [(a - begin, b - begin) for a, b in phrases[first : last + 1]]


def _without_rumble(audio: Audio) -> Audio:
    """What is above 100 Hz: in one of the recordings the room is as loud as the voice, and no voice is lower."""
    spectrum = np.fft.rfft(audio)
    spectrum[: round(RUMBLE_HZ * len(audio) / RATE)] = 0
    return np.fft.irfft(spectrum, len(audio)).astype(np.float32)


def _faded(audio: Audio) -> Audio:
    ramp: NDArray[np.float32] = np.linspace(0, 1, HOP, dtype=np.float32)
    faded = audio.copy()
    faded[:HOP] *= ramp
    faded[-HOP:] *= ramp[::-1]
    return faded
