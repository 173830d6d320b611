"""Reads audio and video files of any length as blocks of 16 kHz. It does not know about sessions or live streams.

What a file is, is decided by its content. libsndfile (always there) reads WAV, AIFF, AU, CAF and the like, which say
exactly where their samples are; PyAV (optional) reads the rest. Both get an open file and never a name, so neither can
follow one elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from stream_server.audio.decode import Sanitizer
from stream_server.audio.error import AudioTooLong, UnsupportedAudio, require_layout
from stream_server.audio.resample import SAMPLE_RATE, Resampler
from stream_server.audio.track import Track

logger = logging.getLogger(__name__)

AudioFile = str | os.PathLike[str] | BinaryIO
"""A path, or an open binary file that can seek."""

# libsndfile stops at the length that these declare, even if more recordings follow, and at the first damaged frame.
_BETTER_BY_FFMPEG: Final = ("flac", "ogg", "mp3")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a file holds; `format` names its container in lower case, for instance `wav`, `ogg` or `mov`. `title` is
    what the file calls itself, if it does."""

    duration_sec: float
    channels: int
    sample_rate: int
    format: str
    title: str | None = None


def probe(file: AudioFile) -> FileInfo:
    """Look at a file without decoding it.

    Raises:
        UnsupportedAudio: empty, not audio, damaged, or without an audio track.
        OSError: the path cannot be opened.
    """
    with _open(file) as source:
        return FileInfo(source.duration_sec(), source.channels, source.sample_rate, source.format, source.title)


def read_audio(file: AudioFile, *, longest_sec: float | None = None) -> Generator[NDArray[np.float32], None, None]:
    """Decode a file to blocks `[channels, n]` of float32 at 16 kHz in [-1, 1], each about a second long.

    Memory does not grow with the length of the file. What is damaged is left out, with a warning in the log. Several
    recordings one after another in a file are all decoded, up to the file's end; `channels` is as in the first one. The
    file is opened when the first block is asked for.

    Raises:
        UnsupportedAudio: empty, not audio, without an audio track, or nothing in it could be decoded.
        AudioTooLong: there is more in it than `longest_sec` seconds, whatever it says of itself.
        OSError: the path cannot be opened.
    """
    with _open(file) as source:
        joiner = _Joiner(source.sample_rate, source.channels)
        ready = 0
        block: list[NDArray[np.float32]] = []
        for samples, rate in source.samples():
            block.append(joiner.receive(samples, rate))
            if longest_sec is not None and joiner.heard_sec > longest_sec:
                raise AudioTooLong(joiner.heard_sec, longest_sec)
            ready += block[-1].shape[1]
            if ready >= SAMPLE_RATE:
                yield np.concatenate(block, axis=1)
                block, ready = [], 0
        if not joiner.heard_sec:
            raise UnsupportedAudio(
                f"the file is damaged: {source.trouble}" if source.trouble else "the file holds no audio"
            )
        if source.trouble:
            logger.warning("%.1f s of the file were decoded; %s", joiner.heard_sec, source.trouble)
        yield np.concatenate([*block, joiner.finish()], axis=1)


@contextmanager
def _open(file: AudioFile) -> Iterator[_SndSource | Track]:
    source: _SndSource | Track | None
    if isinstance(file, str | os.PathLike):
        with Path(file).open("rb") as opened, _open(opened) as source:
            yield source
        return
    file.seek(0)
    if not file.read(1):
        raise UnsupportedAudio("the file is empty")
    file.seek(0)
    simple = _SndSource.open(file)
    source = simple if simple is not None and simple.format not in _BETTER_BY_FFMPEG else _track(file, simple)
    try:
        require_layout("the file", source.sample_rate, source.channels)
        yield source
    finally:
        source.close()


def _track(file: BinaryIO, simple: _SndSource | None) -> _SndSource | Track:
    """The file as FFmpeg sees it; without PyAV, or where FFmpeg sees nothing, as libsndfile does."""
    position = file.tell()
    try:
        track = Track(file)
    except UnsupportedAudio as error:
        if simple is None:
            raise
        file.seek(position)
        logger.warning("the file is read up to its first end or damaged place only: %s", error.message)
        return simple
    if simple is not None:
        simple.close()
    return track


class _Joiner:
    """Makes one stream of pieces whose rate or channels may change."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sanitizer = Sanitizer()
        self._channels = channels
        self._begin(sample_rate, 0.0)

    def _begin(self, sample_rate: int, before_sec: float) -> None:
        self._resampler = Resampler(sample_rate, self._channels)
        self._rate, self._before_sec, self._samples = sample_rate, before_sec, 0

    @property
    def heard_sec(self) -> float:
        """How much audio came in."""
        return self._before_sec + self._samples / self._rate

    def receive(self, samples: NDArray[Any], rate: int) -> NDArray[np.float32]:
        """Samples `[n, channels]`; gives what is ready at 16 kHz, `[channels, m]`."""
        samples = self._sanitizer.apply(samples)
        if samples.shape[1] != self._channels:
            samples = np.repeat(samples.mean(axis=1, keepdims=True), self._channels, axis=1)
        if rate == self._rate:
            self._samples += len(samples)
            return self._resampler.receive(samples)
        rest = self.finish()
        self._begin(rate, self.heard_sec)
        return np.concatenate([rest, self.receive(samples, rate)], axis=1)

    def finish(self) -> NDArray[np.float32]:
        """The rest of what came in."""
        return self._resampler.finish()


class _SndSource:
    """A file read by libsndfile."""

    @classmethod
    def open(cls, file: BinaryIO) -> _SndSource | None:
        """None where libsndfile sees no audio: also in a WAV file whose recorder died before it wrote the size."""
        try:
            source = cls(soundfile.SoundFile(file))
        except soundfile.LibsndfileError:
            return None
        return source if source.duration_sec() else None

    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file = file
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.format: str = self._file.format.lower()
        self.title: str | None = self._file.title or None
        self.trouble = ""

    def duration_sec(self) -> float:
        return float(self._file.frames) / self.sample_rate

    def samples(self) -> Iterator[tuple[NDArray[Any], int]]:
        """Pieces `[n, channels]` of at most a second, and their rate."""
        try:
            while len(samples := self._file.read(self.sample_rate, dtype="float32", always_2d=True)):
                yield samples, self.sample_rate
        except soundfile.LibsndfileError as error:
            self.trouble = f"the file breaks off there ({error})"

    def close(self) -> None:
        self._file.close()
