"""The recordings to measure with, and what is said in them where that is known. It does not know what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.file import read_audio
from stream_server.engine.moonshine.asset import find_recording

SAMPLE_RATE: Final = 16_000
TRANSCRIPTS: Final = "transcripts.tsv"
LONGEST_SEC: Final = 60  # the model takes no more in one reading
_SUFFIXES: Final = (".flac", ".wav")


class CorpusError(Exception):
    """The folder cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One recording: ``audio`` is [n] int16, mono, 16 kHz; ``reference`` is what is said in it, None if unknown."""

    name: str
    path: Path
    audio: NDArray[np.int16]
    reference: str | None

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE


def load_folder(folder: Path) -> list[Clip]:
    """Every recording that ``transcripts.tsv`` (name, tab, text) in the folder names, as flac or wav.

    Raises:
        CorpusError: no such folder, no or an empty list, a recording is missing or too long.
        UnsupportedAudio, OSError: a recording cannot be read.
    """
    table = folder / TRANSCRIPTS
    if not table.is_file():
        raise CorpusError(f"{folder} has no {TRANSCRIPTS} (name, tab, text; recordings are name.flac or name.wav)")
    clips = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1):
        name, tab, text = line.partition("\t")
        if not line.strip():
            continue
        if not tab:
            raise CorpusError(f"{table}, line {number}: no tab between name and text")
        files = [folder / f"{name}{suffix}" for suffix in _SUFFIXES]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            raise CorpusError(f"{table}, line {number}: neither {files[0].name} nor {files[1].name} is there")
        clips.append(_read(name, path, text))
    if not clips:
        raise CorpusError(f"{table} is empty")
    return clips


def load_wheel() -> list[Clip]:
    """The two recordings that come with the embedded model: 44 s and 10 s of reading, without transcripts.

    Raises:
        AssetError: the wheel is not installed.
    """
    return [_read(name, find_recording(name), None) for name in ("two_cities.wav", "beckett.wav")]


def _read(name: str, path: Path, reference: str | None) -> Clip:
    mono = np.concatenate([block.mean(axis=0) for block in read_audio(path)])
    if len(mono) > LONGEST_SEC * SAMPLE_RATE:
        raise CorpusError(f"{path} is longer than {LONGEST_SEC} s: cut it into utterances")
    # The inverse of how 16-bit files are read, so that a file of 16 kHz and 16 bit goes out as it is.
    return Clip(name, path, (mono * 32768).round().clip(-32768, 32767).astype("<i2"), reference)
