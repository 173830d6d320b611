"""A file on a web server, read by range requests: only the pieces that are asked for are fetched, and not too many.

It does not know what is in the file.
"""

from __future__ import annotations

import io
import math
import re
import time
from collections import OrderedDict
from typing import Any, Final

import httpx2

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.fetch import IDENTITY, require_success, web_errors

BLOCK_BYTES: Final = 128 * 1024
MAX_BLOCKS: Final = 64
"""Fetched in all; so at most 8 MiB."""
MAX_KEPT: Final = 32
HEAD_BYTES: Final = 2 * 2**20
"""Read of a file whose server knows no ranges."""
MAX_DIGITS: Final = 18
"""Of a size in bytes, so that it and every place in the file fit into 64 bits."""


class RemoteFile(io.RawIOBase):
    """A file that can seek. Where the server gives no ranges, it is as long as declared, but only its head is there.

    client: checks addresses, and bounds the time of it all. listen_sec: how long an answer without a declared length is
    read. Once enough has been fetched, what is not there yet reads as the end of the file.

    Raises:
        JobError: from here, URL_REFUSED and URL_FAILED.
    """

    def __init__(self, client: httpx2.Client, url: str, headers: dict[str, str], *, listen_sec: float) -> None:
        self.size: int | None = None
        """Bytes; None where the server does not say, and its answer goes on."""
        self.is_live = False
        """Whether an answer without a declared length still went on after ``listen_sec``, with little in it."""
        self._client = client
        self._url = url
        self._headers = headers
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetched = 0
        self._head: bytes | None = None
        self._at = 0
        with web_errors(), client.stream("GET", url, headers=self._request(0)) as response:
            if response.status_code != 416:  # the answer to a range of an empty file
                require_success(response)
            self.headers = response.headers
            self.url = str(response.url)
            total = re.fullmatch(r"bytes 0-[0-9]+/([0-9]+)", response.headers.get("content-range", ""))
            if response.status_code == 206 and total:
                self.size = _size(total[1])
                self._blocks[0], _ = self._read(response, BLOCK_BYTES, math.inf)
                return
            declared = response.headers.get("content-length", "") if response.is_success else "0"
            until = math.inf if declared else time.monotonic() + listen_sec
            self._head, is_whole = self._read(response, HEAD_BYTES, until) if response.is_success else (b"", True)
            if is_whole:
                self.size = len(self._head)
            elif declared.isdecimal():
                self.size = _size(declared)
            else:
                self.is_live = len(self._head) < HEAD_BYTES

    @property
    def head(self) -> bytes:
        """The first bytes."""
        return self._head if self._head is not None else self._blocks[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            assert self.size is not None, "who seeks has asked for the size"
            offset += self.size
        elif whence == io.SEEK_CUR:
            offset += self._at
        self._at = max(0, offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, start = divmod(self._at, BLOCK_BYTES)
        if self._head is not None:
            piece = self._head[self._at : self._at + len(buffer)]
        else:
            piece = self._block(number)[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        assert self.size is not None
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        if number * BLOCK_BYTES >= self.size:
            return b""
        if self._fetched >= MAX_BLOCKS:
            return b""
        self._fetched += 1
        with web_errors(), self._client.stream("GET", self._url, headers=self._request(number)) as response:
            if response.status_code != 206:
                raise JobError(Reason.URL_FAILED, "the address answers differently every time")
            block, _ = self._read(response, BLOCK_BYTES, math.inf)
        self._blocks[number] = block
        if len(self._blocks) > MAX_KEPT:
            self._blocks.popitem(last=False)
        return block

    def _request(self, number: int) -> dict[str, str]:
        first = number * BLOCK_BYTES
        return self._headers | IDENTITY | {"Range": f"bytes={first}-{first + BLOCK_BYTES - 1}"}

    def _read(self, response: httpx2.Response, most: int, until: float) -> tuple[bytes, bool]:
        """What comes, until it ends or is enough; and whether it has ended."""
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            if len(content) > most or time.monotonic() > until:
                return bytes(content[:most]), False
        return bytes(content), True


def _size(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JobError(Reason.URL_FAILED, "the address declares a size that no file has")
    return int(digits)
