"""What is made of a transcript: translations and findings, each kept when it is there. Blocking; in a worker's thread.

A text service that fails costs what it was to make, and never the transcript. It does not know how a service works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from stream_server.jobs.database import DATABASE_AWAY
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Failure, Job, Progress
from stream_server.jobs.ledger import JobLedger, SupersededError
from stream_server.jobs.report import Reports
from stream_server.jobs.result import JobResult
from stream_server.text.service import TextServices

logger = logging.getLogger(__name__)

BEGIN_PERCENT: Final = 90
"""How far a job is when this begins."""
_ANALYSIS_PERCENT: Final = 99


class Enrichment:
    """``check``: raises what ends the work when the worker is to stop."""

    def __init__(self, ledger: JobLedger, texts: TextServices, check: Callable[[], None]) -> None:
        self._ledger = ledger
        self._texts = texts
        self._check = check

    def run(self, job: Job, result: JobResult) -> tuple[JobResult, Failure | None]:
        """The result with all that could be made, and why the rest could not.

        Raises:
            SupersededError: the job is cancelled, deleted, or in other hands.
            Exception: one of `DATABASE_AWAY`: the database is away. Call it again: what was made is kept.
        """
        reports = Reports(self._ledger, job, self._check)
        failures: list[Failure] = []
        for number, target in enumerate(job.options.translate_to):
            if target in result.translations:
                continue
            try:
                result = self._translated(job, result, reports, number)
            except Exception as error:
                failures.append(self._judge(job, error, f"translation to {target}"))
                if failures[-1].reason is Reason.SERVICE_UNAVAILABLE:  # it has been waited for long enough
                    break
        if job.options.analysis.is_wanted:
            try:
                result = self._analysed(job, result, reports)
            except Exception as error:
                failures.append(self._judge(job, error, "analysis"))
        return result, joined(failures)

    def _translated(self, job: Job, result: JobResult, reports: Reports, number: int) -> JobResult:
        targets, done = job.options.translate_to, len(result.transcript.segments)
        target, share = targets[number], 0.0

        def progress() -> Progress:
            percent = BEGIN_PERCENT + round((_ANALYSIS_PERCENT - BEGIN_PERCENT) * (number + share) / len(targets))
            return Progress(percent, "translation", f"Translating to {target}: {share:.0%}", done)

        def translated(made: float) -> None:
            nonlocal share
            share = made
            reports(progress())

        reports.now(progress())
        transcript = self._texts.translate(result.transcript, target, translated, lambda: reports(progress()))
        result = replace(result, translations=result.translations | {target: transcript})
        self._ledger.keep(job, result)
        return result

    def _analysed(self, job: Job, result: JobResult, reports: Reports) -> JobResult:
        message = "Working out what was asked about the text"
        progress = Progress(_ANALYSIS_PERCENT, "analysis", message, len(result.transcript.segments))
        reports.now(progress)
        findings = self._texts.analyse(result.transcript, job.options.analysis, lambda: reports(progress))
        return replace(result, findings=findings)

    def _judge(self, job: Job, error: Exception, what: str) -> Failure:
        """Why something could not be made; raises what is no fault of a text service."""
        if isinstance(error, (SupersededError, *DATABASE_AWAY)):
            raise error
        self._check()  # what it needed may have been closed under its hands
        if isinstance(error, JobError):
            logger.warning("%s failed: %s", what, error.message)
            return Failure(error.reason, f"{what}: {error.message}")
        logger.error("%s failed", what, exc_info=error)
        return Failure(Reason.INTERNAL, f"{what}: the server failed at this text; its log says why")


def joined(failures: list[Failure]) -> Failure | None:
    """All of them as one, with the reason of the first."""
    if not failures:
        return None
    return Failure(failures[0].reason, "; ".join(failure.message for failure in failures))
