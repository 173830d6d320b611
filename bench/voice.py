"""Pieces of what known people say, and their vectors: as recorded, and as a telephone carries them.

It knows whose a piece is and which recordings it was cut from; what is made of the vectors it does not know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.labelled_speech import HOP, RATE, label, load
from bench.telephone import encode, limit_band, widen_band
from stream_server.audio.g711 import ULAW

SUFFIXES: Final = (".flac", ".wav")

Audio = NDArray[np.float32]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Some pieces of speech: whose they are, which recordings they are of, and their vectors by the line they came by.

    ``taken``: [pieces, recordings], whether something of the recording is in the piece.
    """

    speaker: NDArray[np.int64]
    taken: NDArray[np.bool_]
    vectors: Mapping[str, Vectors] = field(repr=False)


def read_speech(folders: Sequence[Path]) -> dict[str, list[Audio]]:
    """What each speaker says, recording by recording, without the pauses."""
    speech: dict[str, list[Audio]] = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.suffix in SUFFIXES):
        audio = load(path)
        hops = audio[: len(audio) // HOP * HOP].reshape(-1, HOP)
        speech[path.name.split("-")[0]].append(hops[label(audio)].ravel())
    return dict(speech)


def cut(recordings: Sequence[Audio], seconds: float, rng: np.random.Generator) -> tuple[Audio, list[int]]:
    """A piece of so many seconds, and of which recordings it is: what follows a random place, then random others."""
    wanted = int(seconds * RATE)
    order = rng.permutation(len(recordings)).tolist()
    first = recordings[order[0]]
    parts = [first[int(rng.integers(max(1, len(first) - wanted + 1))) :][:wanted]]
    used = order[:1]
    for index in order[1:]:
        if (lack := wanted - sum(map(len, parts))) <= 0:
            break
        parts.append(recordings[index][:lack])
        used.append(index)
    return np.concatenate(parts), used


def by_telephone(audio: Audio) -> Audio:
    """As it arrives after 8 kHz and mu-law."""
    heard = ULAW[np.frombuffer(encode(limit_band(audio, RATE)), np.uint8)].astype(np.float32)
    return widen_band(heard, RATE)


def collect(
    speech: Mapping[str, Sequence[Audio]],
    seconds: float,
    number: int,
    embed: Callable[[Audio], Vectors],
    rng: np.random.Generator,
) -> Pieces:
    """``number`` pieces of each speaker who has said enough, by both lines."""
    offsets = np.cumsum([0, *(len(recordings) for recordings in speech.values())])
    speakers, rows, clean, telephone = [], [], [], []
    for index, recordings in enumerate(speech.values()):
        if sum(map(len, recordings)) < seconds * RATE:
            continue
        for _ in range(number):
            piece, used = cut(recordings, seconds, rng)
            row = np.zeros(offsets[-1], bool)
            row[offsets[index] + np.array(used)] = True
            speakers.append(index)
            rows.append(row)
            clean.append(embed(piece))
            telephone.append(embed(by_telephone(piece)))
    vectors = {"clean": np.stack(clean), "telephone": np.stack(telephone)}
    return Pieces(np.array(speakers), np.stack(rows), vectors)
