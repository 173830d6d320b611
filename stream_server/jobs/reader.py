"""Reads an object of a store as a file that can seek, a range at a time. It does not know what is in it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import obstore
from obstore.store import LocalStore, S3Store

if TYPE_CHECKING:
    from obstore import ReadableFile

READ_BYTES: Final = 2**20


def open_object(store: LocalStore | S3Store, path: str) -> BinaryIO:
    """The object at ``path``.

    Raises:
        FileNotFoundError: there is none.
        OSError, obstore.exceptions.BaseError: the store cannot be read; also from what is read later.
    """
    return io.BufferedReader(_RawReader(obstore.open_reader(store, path, buffer_size=READ_BYTES)))


class _RawReader(io.RawIOBase):
    """An object as Python's own buffered readers want it."""

    def __init__(self, reader: ReadableFile) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = memoryview(data)
        return len(data)
