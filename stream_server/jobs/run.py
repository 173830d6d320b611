"""One job from its source to its result: fetch, recognize, what is made of the text, done.

Every part leaves what it has done in the store, and the next attempt goes on behind it: the fetched file, the
transcript. So DBOS need only know that the job is to be done, and nothing is done twice to the outside. Blocking; in a
worker's thread. It knows nothing of queues or processes.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from stream_protocol.errors import StreamError
from stream_server.audio.error import AudioTooLong, UnsupportedAudio
from stream_server.engine.engine import Engine
from stream_server.engine.memory import release_memory
from stream_server.jobs.database import DATABASE_AWAY
from stream_server.jobs.enrichment import Enrichment
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.fetch import fetch
from stream_server.jobs.job import Failure, Job, Progress
from stream_server.jobs.ledger import JobLedger, SupersededError
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.queue import DOWNLOADS, TEXTS
from stream_server.jobs.reader import UnreadableError
from stream_server.jobs.recognition import FETCHED_PERCENT, Recognition
from stream_server.jobs.report import Reports
from stream_server.jobs.result import JobResult
from stream_server.log import log_context
from stream_server.settings import Settings
from stream_server.speakers.diarizer import DiarizerError
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.registry import SpeakerRegistry
from stream_server.speakers.service import Speakers
from stream_server.text.service import TextServices
from stream_server.tracing import Span, span
from stream_server.transcribe import FileTranscriber

logger = logging.getLogger(__name__)

MOST_ATTEMPTS: Final = 20
"""A recording that was begun so often, and ended neither well nor badly, is given up."""
_HOPELESS: Final = f"begun {MOST_ATTEMPTS} times, and never ended; the server's log says why"


class StoppingError(BaseException):
    """The worker is to stop, and leaves the job as it is: no `Exception`, which would end the work for DBOS. Whoever
    finds this worker gone takes it over."""


class JobRun:
    """Does jobs, several threads at a time. ``stopping`` is set when it should not go on."""

    def __init__(
        self,
        settings: Settings,
        ledger: JobLedger,
        objects: ObjectStore,
        engine: Engine,
        files: FileTranscriber,
        speakers: Speakers,
        registry: SpeakerRegistry,
        texts: TextServices,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._objects = objects
        self._engine = engine
        self._recognition = Recognition(settings, ledger, objects, files, speakers, registry, self.check)
        self._enrichment = Enrichment(ledger, texts, self.check)
        self._stopping = stopping

    def run(self, job_id: str, queue: str) -> None:
        """Do the part of the job that belongs to ``queue``. When this returns, the store knows how it went.

        Raises:
            Exception: one of `DATABASE_AWAY`, or UnreadableError: the database or the object store is away. Call it
                again: what was achieved is kept.
            StoppingError: leave it.
        """
        if self._stopping.is_set():
            raise StoppingError
        job = self._ledger.begin(job_id)
        if job is None:
            return
        with (
            log_context(job_id=job.id, request_id=job.request_id, attempt=job.attempt),
            span("job", job_id=job.id, request_id=job.request_id, attempt=job.attempt, queue=queue) as traced,
        ):
            self._run(job, queue, traced)

    def _run(self, job: Job, queue: str, traced: Span) -> None:
        started = time.monotonic()
        try:
            done = self._do(job, queue)
            if done is None:
                return
            result, failure = done
            self._objects.drop(self._ledger.complete(job, result, failure))
            release_memory()
            seconds = round(time.monotonic() - started, 3)
            logger.info("job completed", extra={"seconds": seconds, "audio_ms": result.transcript.duration_ms})
        except SupersededError:
            logger.info("job cancelled or taken over")
        except UnreadableError:
            if self._ledger.holds(job):
                raise  # the job is not at fault
            logger.info("job cancelled or taken over")  # and its audio deleted while it was read
        except DATABASE_AWAY:
            raise  # nor here
        except Exception as error:
            if self._stopping.is_set():  # what it needed was closed under its hands
                raise StoppingError from error
            traced.fail(type(error).__name__)
            self._fail(job, error)

    def _fail(self, job: Job, error: Exception) -> None:
        failure = _failure(error)
        try:
            self._objects.drop(self._ledger.fail(job, failure))
        except SupersededError:
            logger.info("job cancelled or taken over")
            return
        level = logging.ERROR if failure.reason is Reason.INTERNAL else logging.INFO
        logger.log(level, "job failed: %s", failure.message, exc_info=error if level == logging.ERROR else None)

    def _do(self, job: Job, queue: str) -> tuple[JobResult, Failure | None] | None:
        """The result, and why something is missing from it; None where the job goes on out of another queue."""
        result, is_hopeless = self._ledger.kept(job.id), job.attempt > MOST_ATTEMPTS
        if result is None:
            if is_hopeless:
                raise JobError(Reason.INTERNAL, _HOPELESS)
            audio = self._audio(job)
            if queue == DOWNLOADS:
                self._ledger.pass_on(job, None)
                return None
            result = JobResult(self._recognition.run(job, audio))
            self._ledger.keep(job, result)
        if not (job.options.translate_to or job.options.analysis.is_wanted):
            return result, None
        if is_hopeless:
            return result, Failure(Reason.INTERNAL, _HOPELESS)
        if queue != TEXTS:
            self._ledger.pass_on(job, TEXTS)
            return None
        with span("job.text"):
            return self._enrichment.run(job, result)

    def _audio(self, job: Job) -> str:
        """The object that holds the audio; it is fetched if it is not there."""
        source = job.source
        assert source is not None
        name = source.object or self._ledger.fetched(job.id)
        if name is not None:
            return name
        assert source.url is not None
        report = Reports(self._ledger, job, self.check)

        def fetching(share: float | None) -> None:
            report(Progress(round(FETCHED_PERCENT * (share or 0)), "downloading", "Fetching the recording"))

        report.now(Progress(0, "downloading", "Fetching the recording"))
        try:
            with span("job.download"):
                return fetch(source.url, self._objects, self._settings, key=job.key, job=job.id, progress=fetching).name
        except JobError as error:
            raise _store_error(error) from error

    def check(self) -> None:
        """Whether to go on.

        Raises:
            StoppingError: no.
        """
        if self._engine.lost is not None:
            self._stopping.wait()  # nothing can be done any more in this process
        if self._stopping.is_set():
            raise StoppingError


def _store_error(error: JobError) -> Exception:
    """What an error of a download means: a store that cannot be written can be, later."""
    return UnreadableError(error.message) if error.reason is Reason.SERVICE_UNAVAILABLE else error


def _failure(error: Exception) -> Failure:
    match error:
        case JobError():
            return Failure(error.reason, error.message)
        case AudioTooLong():
            return Failure(Reason.AUDIO_TOO_LONG, str(error))
        case UnsupportedAudio():
            return Failure(Reason.UNSUPPORTED_FORMAT, error.message)
        case StreamError():
            return Failure(Reason.INTERNAL, "the recognizer failed at this recording; the server's log says why")
        case DiarizerError():
            message = "the speakers of this recording could not be told apart; the server's log says why"
            return Failure(Reason.INTERNAL, message)
        case EmbedderError():
            message = "the speakers of this recording could not be identified; the server's log says why"
            return Failure(Reason.INTERNAL, message)
        case _:
            return Failure(Reason.INTERNAL, "the server failed at this recording; its log says why")
