"""Reads an object of a store as a file that can seek, a range at a time. It does not know what is in it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

if TYPE_CHECKING:
    from obstore import ReadableFile

READ_BYTES: Final = 2**20


class UnreadableError(Exception):
    """The store failed while an object was read, or somebody deleted it."""


def open_object(store: LocalStore | S3Store, path: str) -> ObjectFile:
    """The object at ``path``.

    Raises:
        FileNotFoundError: there is none.
        OSError, obstore.exceptions.BaseError: the store cannot be read.
    """
    return ObjectFile(_RawReader(obstore.open_reader(store, path, buffer_size=READ_BYTES)))


class ObjectFile(io.BufferedReader):
    """A file whose reads do not fail: decoders in C lose exceptions on the way, and take them for the end of the file.

    So where the store fails, the file ends, and `check` tells the one end from the other.
    """

    raw: _RawReader

    def check(self) -> None:
        """Raises: UnreadableError: what was read is not all there was."""
        if self.raw.failure is not None:
            raise UnreadableError(f"the object store failed: {self.raw.failure}") from self.raw.failure


class _RawReader(io.RawIOBase):
    """An object as Python's own buffered readers want it."""

    def __init__(self, reader: ReadableFile) -> None:
        self.failure: Exception | None = None
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
        if self.failure is not None:
            return 0
        try:
            data = self._reader.read(len(buffer))
        except (OSError, BaseError) as error:
            self.failure = error
            return 0
        buffer[: len(data)] = memoryview(data)
        return len(data)
