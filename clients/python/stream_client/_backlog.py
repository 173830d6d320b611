"""What was sent, as long as it may have to be sent again. Plain data: it knows no sockets and no time.

A log of frames in the order in which the caller made them: audio, and control messages in between. A cursor says what
went out on the present connection. When that breaks, ``rewind`` puts the cursor back to where the server goes on, and
the same frames go out again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    start: int  # bytes of audio before this entry
    frame: bytes | str
    is_kept: bool = True  # once it was sent

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

    @property
    def first_sample(self) -> int:
        """The oldest whole sample that can be sent again."""
        return -(-self._first // self._sample_bytes)

    @property
    def end_sample(self) -> int:
        """Where the audio appended so far ends; a sample begun is counted."""
        return -(-self._end // self._sample_bytes)

    def append(self, frame: bytes | str, *, is_kept: bool = True) -> None:
        """Add audio (bytes) or a control message (text). ``is_kept``: it is sent again after a break."""
        entry = _Entry(self._end, frame, is_kept)
        self._unsent.append(entry)
        self._end = entry.end

    def next_frame(self) -> bytes | str | None:
        """The next frame to send, None where all are sent. It counts as sent from now on."""
        if not self._unsent:
            return None
        entry = self._unsent.popleft()
        if entry.is_kept:
            self._sent.append(entry)
        self._cursor = entry.end
        while self._sent and self._cursor - self._first > self._max_bytes:
            self._drop_first()
        return entry.frame

    def settle(self, message: str) -> None:
        """This control message has been answered: it is not sent again."""
        for entries in (self._sent, self._unsent):
            for entry in entries:
                if entry.frame == message:
                    entries.remove(entry)
                    return

    def forget(self, sample: int) -> None:
        """Nothing before this sample is needed any more.

        Control messages in front of it have arrived too, as frames keep their order. Those at this very position may
        not have, and stay.
        """
        position = sample * self._sample_bytes
        while self._sent and self._sent[0].end <= position and self._sent[0].start < position:
            self._drop_first()

    def rewind(self, sample: int) -> bool:
        """Start again from this sample; False where audio from there on is missing. What lies before it stays."""
        position = sample * self._sample_bytes
        if not self._first <= position <= self._cursor:
            return False
        while self._sent and self._sent[-1].start >= position:
            self._unsent.appendleft(self._sent.pop())
        if self._sent and self._sent[-1].end > position:
            entry = self._sent.pop()
            assert isinstance(entry.frame, bytes)
            length = position - entry.start
            self._sent.append(_Entry(entry.start, entry.frame[:length]))
            self._unsent.appendleft(_Entry(position, entry.frame[length:]))
        self._cursor = position
        return True

    def _drop_first(self) -> None:
        self._first = self._sent.popleft().end
