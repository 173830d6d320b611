"""Notices what the device thread cannot notice itself: a step that never ends, and its own sudden end.

It counts its own looks at a step rather than seconds: a process that was stopped, or a machine that slept, is no step
that hangs. It does not know what a step does, and cannot end it: a thread that hangs in a driver hangs for good.
"""

from __future__ import annotations

import math
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LONGEST_INTERVAL_SEC: Final = 1.0
LOOKS: Final = 10
"""At least so many times a step is looked at before it counts as hung."""

_FRAMES: Final = 8


class Watchdog:
    """Watches one thread from another, between `start` and `stop`.

    Args:
        watched: the thread that runs the steps.
        timeout: seconds that one step may take.
        hung: told once, with where it hangs, that a step does not end.
        died: told once that the thread has ended, though nobody has called `stop`.
    """

    def __init__(
        self, watched: threading.Thread, timeout: float, *, hung: Callable[[str], None], died: Callable[[], None]
    ) -> None:
        self._watched = watched
        self._interval = min(LONGEST_INTERVAL_SEC, timeout / LOOKS)
        self._most = math.ceil(timeout / self._interval)
        self._hung = hung
        self._died = died
        self._step = 0
        self._is_running = False
        self._seen: tuple[int, int] = (0, 0)  # a step, and how often it was found to be running
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="engine-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look; the watched thread runs already."""
        self._thread.start()

    def stop(self) -> None:
        """The watched thread may end now, and takes no step any more that matters. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around one step, in the watched thread."""
        self._step += 1
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    def look(self) -> bool:
        """Look once; returns whether there is anything left to watch."""
        if not self._watched.is_alive():
            self._died()
            return False
        if not self._is_running:
            return True
        step, times = self._seen
        self._seen = (self._step, times + 1 if step == self._step else 1)
        if self._seen[1] <= self._most:
            return True
        self._hung(self._place())
        return False

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval):
            if not self.look():
                return

    def _place(self) -> str:
        """Where the watched thread is, innermost call last."""
        frame = sys._current_frames().get(self._watched.ident or 0)
        if frame is None:
            return "nowhere"
        calls = traceback.extract_stack(frame)[-_FRAMES:]
        return " > ".join(f"{call.name} ({call.filename.rpartition('/')[2]}:{call.lineno})" for call in calls)
