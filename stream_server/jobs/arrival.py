"""What has come in of one file: how much, and what it is. It does not know where the bytes come from, or go to."""

from __future__ import annotations

from stream_server.audio.type import COMMON, HEAD_BYTES, detect
from stream_server.jobs.error import JobError, Reason


class Arrival:
    """Counts and judges the bytes of one file. The first are held back until they tell what it is.

    most: bytes that are taken.
    """

    def __init__(self, most: int) -> None:
        self.size = 0
        self.format = ""
        self._most = most
        self._head = b""

    def take(self, chunk: bytes) -> bytes:
        """Take the next bytes; give those that may be written.

        Raises:
            JobError: FILE_TOO_LARGE, UNSUPPORTED_FORMAT.
        """
        self.size += len(chunk)
        if self.size > self._most:
            raise JobError(
                Reason.FILE_TOO_LARGE, f"the file is larger than {self._most / 10**6:.10g} MB, the most that is taken"
            )
        if self.format:
            return chunk
        self._head += chunk
        return self._judge() if len(self._head) >= HEAD_BYTES else b""

    def finish(self) -> bytes:
        """Nothing more comes; give what was held back.

        Raises:
            JobError: UNSUPPORTED_FORMAT, also for an empty file.
        """
        if not self.size:
            raise JobError(Reason.UNSUPPORTED_FORMAT, "the file is empty")
        return b"" if self.format else self._judge()

    def _judge(self) -> bytes:
        found = detect(self._head[:HEAD_BYTES])
        if found is None:
            raise JobError(
                Reason.UNSUPPORTED_FORMAT, f"the file is not audio or video in a known format, as {', '.join(COMMON)}"
            )
        self.format, head, self._head = found, self._head, b""
        return head
