"""Tells the store how far a job is, and not too often. It does not know what is done to the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from stream_protocol.transcript import Segment
from stream_server.jobs.job import Job, Progress
from stream_server.jobs.ledger import JobLedger

REPORT_SEC: Final = 0.5
"""Between two reports, and so about how long a cancelled job goes on."""


class Reports:
    """What it raises ends the work: ``check``, when the worker is to stop, or the ledger, when others have the job."""

    def __init__(self, ledger: JobLedger, job: Job, check: Callable[[], None]) -> None:
        self._ledger = ledger
        self._job = job
        self._check = check
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        self._check()
        if time.monotonic() >= self._next:
            self.now(progress)

    def now(self, progress: Progress, new: Sequence[Segment] = (), start: int = 0) -> None:
        """Tell it at once; ``new`` and ``start`` are those of `JobLedger.report`."""
        self._check()
        self._ledger.report(self._job, progress, new, start)
        self._next = time.monotonic() + REPORT_SEC
