"""The first audio track of a file, decoded by FFmpeg past what is damaged. It does not know what rate is wanted.

FFmpeg gets an open file and never a name, so it cannot follow one elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray

from stream_server.audio.container import audio_track, frame_samples, import_av
from stream_server.audio.error import UnsupportedAudio, require_layout
from stream_server.audio.ogg import OggChain

# Recordings only: FFmpeg's playlists would open other files and addresses.
DEMUXERS: Final = "aac,ac3,aiff,amr,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"

# No codec makes packets of this size: larger ones are damage, and would be decoded in one piece.
_MAX_PACKET: Final = 8 * 2**20
# A damaged packet says nothing about those behind it, so skipping ends only where a file is made to keep us busy: this
# many take half a minute, and a small MP4 can list more. It is five hours of AAC.
_MOST_DAMAGED: Final = 1_000_000
# Where a demuxer fails it may go on (Ogg's behind 64 KiB of anything else), and some fail at the same place for ever.
# The same for the parts of an Ogg file.
_MOST_FAILURES: Final = 1000
# In these a frame is found by its first bytes, and all before it becomes one packet, however much that is.
_RAW: Final = ("aac", "ac3", "flac", "mp3")
_MOST_BETWEEN: Final = 32 * 2**20
# What these containers say of their length is a guess from their first packets.
_GUESSED: Final = ("aac", "ac3", "amr", "mpeg", "mpegts")
_SLACK_SEC: Final = 0.06  # what the decoder of WMA holds back


class _HopelessError(Exception):
    """Too much of the file is damaged to go on."""


class _Source:
    """A file that ends, where `is_bounded`, when too much was read without finding anything."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek = file.seek
        self.tell = file.tell
        self.is_bounded = False
        self.since_packet = 0
        self._file = file

    def read(self, size: int) -> bytes:
        if self.is_bounded and self.is_exhausted:
            return b""
        data = self._file.read(size)
        self.since_packet += len(data)
        return data

    @property
    def is_exhausted(self) -> bool:
        return self.since_packet > _MOST_BETWEEN


class Track:
    """The track, and what its file says of itself."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises: UnsupportedAudio: nothing FFmpeg knows, damaged, or without an audio track that it can decode."""
        self._av = import_av()
        self._file = file
        file.seek(0)
        self._source = _Source(file)
        try:
            self._container = self._av.open(
                self._source, options={"format_whitelist": DEMUXERS}, metadata_errors="replace"
            )
        except self._av.error.FFmpegError as error:
            raise UnsupportedAudio("the file is not audio or video in a known format, or it is damaged") from error
        try:
            self._stream = audio_track(self._container, "the file")
        except UnsupportedAudio:
            self.close()
            raise
        self.sample_rate: int = self._stream.codec_context.sample_rate
        self.channels: int = self._stream.codec_context.channels
        self.format: str = self._container.format.name.split(",")[0]
        tags = self._container.metadata | self._stream.metadata  # Ogg's are the stream's
        self.title: str | None = next((tags[name] for name in tags if name.lower() == "title" and tags[name]), None)
        self._heard_sec = 0.0
        self._damaged = 0
        self._damaged_sec = 0.0
        self._failures = 0  # since something was heard
        self._failure = ""

    def duration_sec(self) -> float:
        """What the file says, or what its packets say; of several recordings in one file it may be the first one's."""
        # A browser's recording does not say how long it is: its packets do.
        if self._stream.duration is not None:
            return max(0.0, float(self._stream.duration * self._stream.time_base))
        if self._container.duration is not None:
            return max(0.0, float(self._container.duration / 1_000_000))
        end = 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    end = max(end, packet.pts + (packet.duration or 0))
        except self._av.error.FFmpegError:
            pass  # as far as it can be read
        return float(end * self._stream.time_base)

    def samples(self) -> Iterator[tuple[NDArray[Any], int]]:
        """Pieces `[n, channels]` as the codec frames them, and their rate. Both may change on the way.

        What is damaged is left out. Call it once, and not after `duration_sec`.
        """
        try:
            if self.format != "ogg":
                self._source.since_packet = 0
                self._source.is_bounded = self.format in _RAW
                yield from self._decode(self._container, self._stream)
                return
            for link in OggChain(self._file).links():
                try:
                    container = self._av.open(link, format="ogg", metadata_errors="replace")
                except self._av.error.FFmpegError as error:
                    self._fail(error.strerror)
                    continue
                with container:
                    if not container.streams.audio:
                        continue
                    try:
                        stream = audio_track(container, "one part")
                    except UnsupportedAudio as error:
                        self._fail(error.message)
                        continue
                    yield from self._decode(container, stream)
        except _HopelessError:
            pass  # `trouble` tells

    @property
    def trouble(self) -> str:
        """What of the track was left out, once all samples were taken; empty if nothing was."""
        parts = []
        if self._damaged:
            parts.append(f"{self._damaged} damaged packet(s) were left out ({self._damaged_sec:.1f} s)")
        if self._stream.duration is not None:
            declared = float(self._stream.duration * self._stream.time_base)
        elif self._container.duration is not None and len(self._container.streams) == 1:
            declared = self._container.duration / 1_000_000
        else:  # of a video it may be the picture's
            declared = 0.0
        if self.format not in _GUESSED and declared - self._heard_sec > _SLACK_SEC:
            parts.append(f"about {declared - self._heard_sec:.1f} of {declared:.1f} s are missing")
        if self._source.is_bounded and self._source.is_exhausted:
            parts.append("its end was not read: too much of it is not audio")
        if self._failure:
            parts.append(f"some of it could not be read ({self._failure})")
        return ", ".join(parts)

    def close(self) -> None:
        """Let go of FFmpeg's part; the file stays open."""
        self._container.close()

    def _decode(self, container: Any, stream: Any) -> Iterator[tuple[NDArray[Any], int]]:
        while True:
            try:
                for packet in container.demux(stream):
                    if not self._source.is_exhausted:
                        self._source.since_packet = 0
                    yield from self._frames(packet)
                return
            except self._av.error.FFmpegError as error:
                self._fail(error.strerror)  # and ask for the packet behind it

    def _frames(self, packet: Any) -> Iterator[tuple[NDArray[Any], int]]:
        try:
            if packet.size > _MAX_PACKET:
                raise UnsupportedAudio("the file holds a packet larger than any codec makes")
            for frame in packet.decode():
                samples = frame_samples(frame)
                require_layout("a part of the file", frame.sample_rate, samples.shape[1])
                self._failures = 0
                self._heard_sec += len(samples) / frame.sample_rate
                yield samples, frame.sample_rate
        except (self._av.error.FFmpegError, UnsupportedAudio):  # damaged, or damaged so that it declares nonsense
            self._damaged += 1
            if packet.duration and packet.time_base:
                self._damaged_sec += float(packet.duration * packet.time_base)
            if self._damaged >= _MOST_DAMAGED:
                raise _HopelessError from None

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            raise _HopelessError from None
