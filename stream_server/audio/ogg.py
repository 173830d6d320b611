"""Cuts an Ogg file that is several recordings one after another ("chained", RFC 3533) into these. It decodes nothing.

FFmpeg decodes the second with the first one's tables, which gives noise, and refuses it where the rate or the channels
differ; each recording by itself is fine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

_READ_BYTES: Final = 64 * 1024
_HEADER_BYTES: Final = 27
_MAX_PAGE: Final = _HEADER_BYTES + 255 + 255 * 255
# Capture pattern, version 0, and the flag of the page that begins a logical stream.
_BEGINNING: Final = b"OggS\x00\x02"


class OggLink:
    """One recording of the chain as a file that can only be read; ends where the next one begins."""

    def __init__(self, chain: OggChain) -> None:
        self._chain = chain

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most; none at the end."""
        return self._chain.take(size)


class OggChain:
    """The recordings in a file, in order. Every byte belongs to one of them, damaged ones too.

    A recording begins with one page for each stream in it (sound, picture), which follow each other without a gap. They
    are searched for, and the pages between are not parsed: so damage there does not matter.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file.seek(0)
        self._buffer = b""
        self._at = 0  # of the next byte to give
        self._checked = 0  # up to here nothing new begins
        self._ended = False

    def links(self) -> Iterator[OggLink]:
        """Each is read before the next one is asked for; what was left of it is then skipped."""
        while True:
            self._pass_beginning()
            if self._ended and self._at == len(self._buffer):
                return
            yield OggLink(self)
            while self.take(_READ_BYTES):
                pass

    def take(self, size: int) -> bytes:
        """What comes next of the present recording."""
        if self._at == self._checked:
            self._check()
        data = self._buffer[self._at : min(self._checked, self._at + size)]
        self._at += len(data)
        return data

    def _pass_beginning(self) -> None:
        """The pages that begin the recording here are its own."""
        self._fill()
        at = self._at
        while at + _HEADER_BYTES <= len(self._buffer) and self._begins(at):
            segments = self._buffer[at + _HEADER_BYTES - 1]
            at += _HEADER_BYTES
            at += segments + sum(self._buffer[at : at + segments])
            self._checked = min(at, len(self._buffer))

    def _check(self) -> None:
        """Find more that belongs to the present recording, if there is more."""
        self._fill()
        at = self._buffer.find(_BEGINNING, self._at)
        while at >= 0 and not self._begins(at):
            at = self._buffer.find(_BEGINNING, at + 1)
        if at >= 0:
            self._checked = at
        elif self._ended:
            self._checked = len(self._buffer)
        else:  # the last bytes may be the first ones of a beginning
            self._checked = len(self._buffer) - len(_BEGINNING) + 1

    def _begins(self, at: int) -> bool:
        """Whether a first page lies here: its number in its stream is 0. A header that is cut counts as one, until more
        of the file is there."""
        header = self._buffer[at : at + _HEADER_BYTES]
        if not header.startswith(_BEGINNING):
            return False
        return not any(header[18:22]) if len(header) == _HEADER_BYTES else not self._ended

    def _fill(self) -> None:
        """Have some pages ahead, so that no header is cut."""
        while not self._ended and len(self._buffer) - self._at < 2 * _MAX_PAGE:
            data = self._file.read(_READ_BYTES)
            self._ended = not data
            self._buffer = self._buffer[self._at :] + data
            self._checked -= self._at
            self._at = 0
