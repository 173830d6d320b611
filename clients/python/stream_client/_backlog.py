"""What was sent, as long as the server may not have it. Plain data: it knows no sockets and no time.

A log of frames in the order in which the caller made them: audio, and control messages in between. A cursor says what
went out on the present connection. When that breaks, ``rewind`` puts the cursor back to what the server has, and the
same frames go out again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    start: int  # bytes of audio before this entry
    frame: bytes | str

    @property
    def end(self) -> int:
        return self.start + (len(self.frame) if isinstance(self.frame, bytes) else 0)


class Backlog:
    """Frames to send and to send again, of at most about ``max_bytes`` of audio already sent.

    ``sample_bytes`` is the size of one sample of all channels; positions on the wire are counted in these.
    """

    def __init__(self, sample_bytes: int, max_bytes: int) -> None:
        self._sample_bytes = sample_bytes
        self._max_bytes = max_bytes
        self._sent: deque[_Entry] = deque()
        self._unsent: deque[_Entry] = deque()
        self._first = 0  # position in bytes of the oldest audio that is still here
        self._cursor = 0  # of what goes out next
        self._end = 0  # of what comes in next

    @property
    def unsent_bytes(self) -> int:
        return self._end - self._cursor

    def append(self, frame: bytes | str) -> None:
        """Add audio (bytes) or a control message (text)."""
        entry = _Entry(self._end, frame)
        self._unsent.append(entry)
        self._end = entry.end

    def next_frame(self) -> bytes | str | None:
        """The next frame to send, None where all are sent. It counts as sent from now on."""
        if not self._unsent:
            return None
        entry = self._unsent.popleft()
        self._sent.append(entry)
        self._cursor = entry.end
        while self._sent and self._cursor - self._first > self._max_bytes:
            self._drop_first()
        return entry.frame

    def forget(self, received_samples: int) -> None:
        """The server has this much for good.

        Control messages in front of it have arrived too, as frames keep their order. Those at this very position may
        not have, and stay.
        """
        received = received_samples * self._sample_bytes
        while self._sent and self._sent[0].end <= received and self._sent[0].start < received:
            self._drop_first()

    def rewind(self, received_samples: int) -> bool:
        """Start again from what the server has; False where audio it lacks is no longer here."""
        received = received_samples * self._sample_bytes
        if received < self._first or received > self._cursor:
            return False
        self.forget(received_samples)
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        if self._unsent and self._unsent[0].start < received:
            entry = self._unsent[0]
            assert isinstance(entry.frame, bytes)
            self._unsent[0] = _Entry(received, entry.frame[received - entry.start :])
        self._first = self._cursor = received
        return True

    def _drop_first(self) -> None:
        self._first = self._sent.popleft().end
