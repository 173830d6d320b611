"""Tells speakers apart in processes beside this one, where live callers are served: they give way, and share no lock.

As many as there are cores to spare, each with a model of its own and several recordings, which take turns piece by
piece: one piece is on its way at a time, so whoever sends audio waits until it has been dealt with. A process is
started when a recording needs it; all but one end with their last recording, and all when this process ends, however it
does. One that dies fails its recordings and no others. Which model it is, nobody knows here.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_server.priority import give_way
from stream_server.speakers.diarizer import Diarization, Diarizer, DiarizerError
from stream_server.speakers.turn import Turn

PIECE: Final = 160_000
"""Samples that are sent at a time: ten seconds."""


class ProcessDiarizer:
    """``load`` makes the diarizer, there: what can be pickled, a function of a module or a `functools.partial` of one.
    ``most``: processes at the same time; half of the cores, if it is not said."""

    def __init__(self, name: str, load: Callable[[], Diarizer], *, most: int | None = None) -> None:
        self.name = name
        self._load = load
        self._most = most or max(1, (os.cpu_count() or 1) // 2)
        self._numbers = itertools.count()
        self._lock = Lock()
        self._processes: list[_Process] = []

    def open(self, num_speakers: int | None = None) -> ProcessDiarization:
        with self._lock:
            process = self._choose()
            process.recordings += 1
        recording = ProcessDiarization(self, process, next(self._numbers))
        try:
            process.ask(recording.number, "open", num_speakers)
        except DiarizerError:
            recording.close()
            raise
        return recording

    def leave(self, process: _Process) -> None:
        """A recording of this process is over."""
        with self._lock:
            process.recordings -= 1
            if not process.recordings and len(self._processes) > 1 and process in self._processes:
                self._processes.remove(process)
                process.end()

    def close(self) -> None:
        """End the processes; recordings on their way fail."""
        with self._lock:
            for process in self._processes:
                process.end()
            self._processes.clear()

    def _choose(self) -> _Process:
        """The one with the least to do."""
        for process in self._processes:
            if not process.is_alive:
                process.end()
        self._processes = [process for process in self._processes if process.is_alive]
        least = min(self._processes, key=lambda process: process.recordings, default=None)
        if least is None or (least.recordings and len(self._processes) < self._most):
            least = _Process(self._load)
            self._processes.append(least)
        return least


class ProcessDiarization:
    """One recording, in another process."""

    def __init__(self, diarizer: ProcessDiarizer, process: _Process, number: int) -> None:
        self.number = number
        self._diarizer = diarizer
        self._process: _Process | None = process

    def hear(self, samples: NDArray[np.float32]) -> None:
        assert self._process is not None, "the recording is closed"
        for start in range(0, len(samples), PIECE):
            self._process.ask(self.number, "hear", samples[start : start + PIECE])

    def finish(self) -> tuple[Turn, ...]:
        assert self._process is not None, "the recording is closed"
        turns: tuple[Turn, ...] = self._process.ask(self.number, "finish")
        return turns

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(DiarizerError):  # it is gone already
                process.ask(self.number, "close")
            self._diarizer.leave(process)


class _Process:
    """One process, as seen from here. ``recordings``: how many it has, which its diarizer counts."""

    def __init__(self, load: Callable[[], Diarizer]) -> None:
        self.recordings = 0
        self._lock = Lock()
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        except OSError as error:
            self._connection.close()
            raise DiarizerError(f"no process for the diarizer can be started: {error}") from error
        finally:
            theirs.close()
        with suppress(OSError):  # it ended at once: whoever asks it will hear of that
            self._connection.send(load)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, number: int, verb: str, argument: object = None) -> Any:
        """Have it done for recording ``number``, and wait.

        Raises:
            DiarizerError: as the diarizer there says, or the process has ended.
        """
        with self._lock:
            try:
                self._connection.send((number, verb, argument))
                answer = self._connection.recv()
            except (EOFError, OSError) as error:
                raise DiarizerError("the diarizer's process has ended; its log and the kernel's may say why") from error
        if isinstance(answer, DiarizerError):
            raise answer
        return answer

    def end(self) -> None:
        """At once, whatever it does."""
        self._process.kill()
        self._process.wait()


def _serve(connection: Connection) -> None:
    """What the process does: one thing after another, until nobody is at the other end."""
    load = connection.recv()
    diarizer: Diarizer | None = None
    recordings: dict[int, Diarization] = {}
    while True:
        number, verb, argument = connection.recv()
        answer: object = None
        try:
            match verb:
                case "open":
                    diarizer = diarizer or load()
                    recordings[number] = diarizer.open(argument)
                case "hear":
                    recordings[number].hear(argument)
                case "finish":
                    answer = recordings[number].finish()
                case "close" if number in recordings:
                    recordings.pop(number).close()
        except DiarizerError as error:
            answer = error
        except Exception as error:  # whatever it is, the other recordings go on
            answer = DiarizerError(f"the diarizer has failed: {type(error).__name__}: {error}")
        connection.send(answer)


if __name__ == "__main__":
    # Its end is its parent's affair, who may have work to finish when everybody is told to stop.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)
    give_way()
    with suppress(EOFError, OSError), Connection(int(sys.argv[1])) as pipe:
        _serve(pipe)
