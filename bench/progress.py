"""What the benchmark is doing, on stderr: bars on a terminal, else one line for each phase."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.report import Advance
from stream_server.terminal import err, say


class ProgressDisplay:
    """One bar at a time; a context manager."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._task: TaskID | None = None

    def begin(self, name: str, total: float) -> Advance:
        """A phase of ``total`` steps begins; the one before is over."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        say(name)
        task = self._task = self._progress.add_task(name, total=total)

        def advance(steps: float) -> None:
            self._progress.advance(task, steps)

        return advance

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
