"""Recognises a WAV stream by its first bytes, reads its header, and gives the audio bytes in it.

It does not know how samples are decoded. Any other stream passes through untouched, held back no longer than its bytes
look like the beginning of a WAV file. Source: Microsoft's RIFF/WAVE documents; EBU Tech 3306 (RF64, ds64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from stream_server.audio.error import UnsupportedAudio, require_layout

MAX_HEADER_BYTES: Final = 64 * 1024

_MAGIC: Final = (b"RIFF", b"RF64", b"BW64")
_UNKNOWN_SIZE: Final = 0xFFFFFFFF
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# An extensible format's GUID is its format tag followed by these bytes (KSDATAFORMAT_SUBTYPE).
_SUBTYPE_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_DTYPES: Final = {
    (_PCM, 8): "uint8",
    (_PCM, 16): "int16",
    (_PCM, 24): "int24",
    (_PCM, 32): "int32",
    (_FLOAT, 32): "float32",
    (_FLOAT, 64): "float64",
    (_ALAW, 8): "alaw",
    (_ULAW, 8): "ulaw",
}


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAV header declares: a sample type of `decode.SAMPLE_TYPES`, hertz, interleaved channels."""

    dtype: str
    sample_rate: int
    channels: int


class _Place(Enum):
    """Where in the stream the next byte lies."""

    MAGIC = auto()  # perhaps a WAV file begins here
    HEADER = auto()  # in the chunks before the audio
    DATA = auto()  # in a data chunk of declared size
    AFTER = auto()  # behind it: other chunks, another WAV file, or audio because the size lied
    OPEN = auto()  # audio until the end
    TRAILER = auto()  # other chunks until the end


class WavStream:
    """Bytes in, audio bytes out; `header` is set as soon as one was read, always before the first audio byte.

    A size that is zero, unknown or too small does not end the audio: only a well-formed chunk behind it does. A client
    may send every piece as a WAV file of its own, as some recorders do, if all their headers say the same.
    """

    def __init__(self) -> None:
        self.header: WavHeader | None = None
        self._place = _Place.MAGIC
        self._held = bytearray()
        self._chunk_at = 0  # offset of the next header chunk in what is held
        self._declared: WavHeader | None = None  # from the fmt chunk, in force once the data chunk is found
        self._long_size = 0  # of the data chunk, from ds64
        self._data_left = 0
        self._padded = False

    def receive(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; give the audio bytes among them.

        Raises:
            UnsupportedAudio: a WAV header that cannot be used.
        """
        if self._place is _Place.OPEN:
            return data
        self._held += data
        audio = bytearray()
        before = None
        while before is not self._place:
            before = self._place
            match before:
                case _Place.MAGIC:
                    self._read_magic()
                case _Place.HEADER:
                    self._read_header()
                case _Place.DATA:
                    audio += self._read_data()
                case _Place.AFTER:
                    self._read_after()
                case _Place.OPEN:
                    audio += self._take(len(self._held))
                case _Place.TRAILER:
                    self._held.clear()
        return bytes(audio)

    def finish(self) -> bytes:
        """No more bytes will come: give those held back that turn out to be audio.

        Raises:
            UnsupportedAudio: the stream ended inside a WAV header.
        """
        if self._place is _Place.HEADER:
            raise UnsupportedAudio("the audio ends inside its WAV header: there is no data chunk")
        if self._place is _Place.MAGIC and self.header is None:
            return self._take(len(self._held))
        return b""

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _read_magic(self) -> None:
        head, kind = bytes(self._held[:4]), bytes(self._held[8:12])
        if not any(magic.startswith(head) for magic in _MAGIC) or not b"WAVE".startswith(kind):
            self._place = _Place.OPEN
        elif len(kind) == 4:
            self._place, self._chunk_at, self._declared, self._long_size = _Place.HEADER, 12, None, 0

    def _read_header(self) -> None:
        while len(self._held) >= self._chunk_at + 8:
            name, size = struct.unpack_from("<4sI", self._held, self._chunk_at)
            body = self._chunk_at + 8
            if name == b"data":
                self._begin_data(body, size)
                return
            if body + size > MAX_HEADER_BYTES:
                raise UnsupportedAudio(
                    f"the WAV header has no data chunk in its first {MAX_HEADER_BYTES} bytes; that is the most allowed"
                )
            if len(self._held) < body + size:
                return
            if name == b"fmt ":
                self._declared = parse_format(bytes(self._held[body : body + size]))
            elif name == b"ds64" and size >= 16:
                (self._long_size,) = struct.unpack_from("<Q", self._held, body + 8)
            self._chunk_at = body + size + size % 2

    def _begin_data(self, body: int, size: int) -> None:
        if self._declared is None:
            raise UnsupportedAudio("the WAV header has no fmt chunk before its data chunk")
        if self.header not in (None, self._declared):
            raise UnsupportedAudio(f"the WAV header changes from {self.header} to {self._declared} within one stream")
        self.header = self._declared
        if size == _UNKNOWN_SIZE:
            size = self._long_size
        self._take(body)
        self._data_left, self._padded = size, size % 2 == 1
        self._place = _Place.DATA if size else _Place.OPEN

    def _read_data(self) -> bytes:
        audio = self._take(min(self._data_left, len(self._held)))
        self._data_left -= len(audio)
        if self._data_left == 0:
            self._place = _Place.AFTER
        return audio

    def _read_after(self) -> None:
        padding = 1 if self._padded and self._held[:1] == b"\0" else 0
        name = bytes(self._held[padding : padding + 4])
        if not all(byte in _CHUNK_NAME for byte in name):
            self._place = _Place.OPEN  # more audio than was declared
        elif len(name) == 4:
            self._take(padding)
            self._place = _Place.MAGIC if name in _MAGIC else _Place.TRAILER


# Letters and digits, and what the names of registered chunks hold besides.
_CHUNK_NAME: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _-")


def parse_format(body: bytes) -> WavHeader:
    """Read the body of a fmt chunk.

    The byte rate and the block size in it are redundant, and often wrong, and are not looked at.

    Raises:
        UnsupportedAudio: too short, an unknown codec, or a layout outside of what the server takes.
    """
    if len(body) < 16:
        raise UnsupportedAudio(f"the WAV header's fmt chunk has {len(body)} bytes; it must have at least 16")
    codec, channels, sample_rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if codec == _EXTENSIBLE and body[26:40] == _SUBTYPE_TAIL:
        (codec,) = struct.unpack_from("<H", body, 24)
    dtype = _DTYPES.get((codec, bits))
    if dtype is None:
        raise UnsupportedAudio(
            f"the WAV header declares codec {codec:#06x} with {bits} bits per sample; "
            "allowed: PCM of 8, 16, 24 or 32 bits, float of 32 or 64, mu-law and A-law of 8"
        )
    require_layout("the WAV header", sample_rate, channels)
    return WavHeader(dtype, sample_rate, channels)
