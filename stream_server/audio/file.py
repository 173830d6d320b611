"""Reads audio and video files of any length as blocks of 16 kHz. It does not know about sessions or live streams.

What a file is, is decided by its content: libsndfile is asked first (WAV, FLAC, Ogg, MP3; always there), PyAV second
(M4A, WebM, video and the rest; optional). Both get an open file and never a name, so neither can follow one elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from stream_server.audio.container import frame_samples, import_av
from stream_server.audio.decode import Sanitizer
from stream_server.audio.error import AudioTooLong, UnsupportedAudio, require_layout
from stream_server.audio.resample import SAMPLE_RATE, Resampler

logger = logging.getLogger(__name__)

AudioFile = str | os.PathLike[str] | BinaryIO
"""A path, or an open binary file that can seek."""

# Recordings only: FFmpeg's playlists would open other files and addresses.
DEMUXERS: Final = "aac,ac3,aiff,amr,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"


# No codec makes packets of this size; a file whose one packet is as large as itself would be decoded in one piece.
_MAX_PACKET: Final = 8 * 2**20


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


def read_audio(file: AudioFile, *, longest_sec: float | None = None) -> Iterator[NDArray[np.float32]]:
    """Decode a file to blocks `[channels, n]` of float32 at 16 kHz in [-1, 1], each about a second long.

    Memory does not grow with the length of the file. A file that breaks off gives what could be decoded, with a
    warning in the log. The file is opened when the first block is asked for.

    Raises:
        UnsupportedAudio: empty, not audio, without an audio track, or nothing in it could be decoded.
        AudioTooLong: there is more in it than `longest_sec` seconds, whatever it says of itself.
        OSError: the path cannot be opened.
    """
    with _open(file) as source:
        sanitizer = Sanitizer()
        resampler = Resampler(source.sample_rate, source.channels)
        heard = ready = 0
        block: list[NDArray[np.float32]] = []
        try:
            for samples in source.samples():
                heard += len(samples)
                if longest_sec is not None and heard > longest_sec * source.sample_rate:
                    raise AudioTooLong(heard / source.sample_rate, longest_sec)
                block.append(resampler.receive(sanitizer.apply(samples)))
                ready += block[-1].shape[1]
                if ready >= SAMPLE_RATE:
                    yield np.concatenate(block, axis=1)
                    block, ready = [], 0
        except source.damage as error:
            if heard == 0:
                raise UnsupportedAudio(f"the file is damaged: {error}") from error
            logger.warning("the file breaks off after %.1f s: %s", heard / source.sample_rate, error)
        if heard == 0:
            raise UnsupportedAudio("the file holds no audio")
        yield np.concatenate([*block, resampler.finish()], axis=1)


@contextmanager
def _open(file: AudioFile) -> Iterator[_SndSource | _AvSource]:
    source: _SndSource | _AvSource | None
    if isinstance(file, str | os.PathLike):
        with Path(file).open("rb") as opened, _open(opened) as source:
            yield source
        return
    file.seek(0)
    if not file.read(1):
        raise UnsupportedAudio("the file is empty")
    file.seek(0)
    source = _SndSource.open(file)
    if source is None:
        file.seek(0)
        source = _AvSource(file)
    try:
        require_layout("the file", source.sample_rate, source.channels)
        yield source
    finally:
        source.close()


class _SndSource:
    """A file read by libsndfile."""

    damage: type[Exception] = soundfile.LibsndfileError

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

    def duration_sec(self) -> float:
        return float(self._file.frames) / self.sample_rate

    def samples(self) -> Iterator[NDArray[Any]]:
        """Pieces `[n, channels]` of at most a second, at the file's rate."""
        while len(samples := self._file.read(self.sample_rate, dtype="float32", always_2d=True)):
            yield samples

    def close(self) -> None:
        self._file.close()


class _AvSource:
    """The first audio track of a file, read by FFmpeg."""

    def __init__(self, file: BinaryIO) -> None:
        av = import_av()
        self.damage: type[Exception] = av.error.FFmpegError
        try:
            self._container = av.open(file, options={"format_whitelist": DEMUXERS})
        except self.damage as error:
            raise UnsupportedAudio("the file is not audio or video in a known format, or it is damaged") from error
        if not self._container.streams.audio:
            self.close()
            raise UnsupportedAudio("the file has no audio track")
        self._stream = self._container.streams.audio[0]
        self.sample_rate: int = self._stream.codec_context.sample_rate
        self.channels: int = self._stream.codec_context.channels
        self.format: str = self._container.format.name.split(",")[0]
        self.title: str | None = self._container.metadata.get("title") or None

    def duration_sec(self) -> float:
        # A browser's recording does not say how long it is: its packets do.
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is not None:
            return float(self._container.duration / 1_000_000)
        end = 0
        for packet in self._container.demux(self._stream):
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
        return float(end * self._stream.time_base)

    def samples(self) -> Iterator[NDArray[Any]]:
        """Pieces `[n, channels]` as the codec frames them, at the file's rate."""
        for packet in self._container.demux(self._stream):
            if packet.size > _MAX_PACKET:
                raise UnsupportedAudio("the file holds a packet larger than any codec makes")
            for frame in packet.decode():
                samples = frame_samples(frame)
                if (frame.sample_rate, samples.shape[1]) != (self.sample_rate, self.channels):
                    raise UnsupportedAudio("the file changes its sample rate or its channels on the way")
                yield samples

    def close(self) -> None:
        self._container.close()
