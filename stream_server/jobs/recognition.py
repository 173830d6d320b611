"""One recording to its transcript: what is said, by whom, and how that is written. Blocking; in a worker's thread.

It does not know where a recording comes from, nor what is made of the transcript afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from stream_protocol.errors import StreamError
from stream_protocol.transcript import Segment, Transcript
from stream_server.audio.error import AudioTooLong
from stream_server.audio.file import probe
from stream_server.engine.work import EngineLostError
from stream_server.jobs.enrichment import BEGIN_PERCENT
from stream_server.jobs.error import JobError
from stream_server.jobs.job import Job, Progress
from stream_server.jobs.ledger import JobLedger
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.reader import ObjectFile, UnreadableError
from stream_server.jobs.report import Reports
from stream_server.jobs.voice import voices_of, wants_names
from stream_server.jobs.wording import masked, without_punctuation
from stream_server.settings import Settings
from stream_server.speakers.diarizer import Diarization
from stream_server.speakers.embedder import Embedder
from stream_server.speakers.labelling import label
from stream_server.speakers.naming import name_speakers
from stream_server.speakers.registry import SpeakerRegistry
from stream_server.speakers.service import Speakers
from stream_server.speakers.turn import Turn, renamed
from stream_server.tracing import span
from stream_server.transcribe import FileTranscriber

FETCHED_PERCENT: Final = 5
"""How far a job is when this begins; at its end it is where `enrichment` begins."""


class Recognition:
    """``check``: raises what ends the work when the worker is to stop."""

    def __init__(
        self,
        settings: Settings,
        ledger: JobLedger,
        objects: ObjectStore,
        files: FileTranscriber,
        speakers: Speakers,
        registry: SpeakerRegistry,
        check: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._objects = objects
        self._files = files
        self._speakers = speakers
        self._registry = registry
        self._check = check

    def run(self, job: Job, name: str) -> Transcript:
        """The transcript of the object of that name.

        Raises:
            UnsupportedAudio, AudioTooLong, JobError: it is the recording's fault.
            StreamError, DiarizerError, EmbedderError: a model has failed.
            UnreadableError: the object store is away.
            SupersededError: the job is cancelled, deleted, or in other hands.
        """
        report = Reports(self._ledger, job, self._check)
        with self._open(job, name) as file:
            duration = self._duration(file)
            report.now(Progress(FETCHED_PERCENT, "transcription", "Transcribing"))
            if not (job.options.diarize or wants_names(job.options)):
                return _worded(self._heard(job, file, duration, report, None), job)
            # Both models first: one that cannot be had is no reason to hear an hour before.
            embedder = self._speakers.embedder() if wants_names(job.options) else None
            with closing(self._speakers.diarizer().open(job.options.num_speakers)) as diarization:
                transcript = self._heard(job, file, duration, report, diarization)
                message = "Telling the speakers apart"
                progress = Progress(BEGIN_PERCENT, "diarization", message, len(transcript.segments))
                report.now(progress)
                with span("job.diarize"):
                    turns = diarization.finish()
            if embedder is not None:
                with span("job.identify"):
                    turns = self._named(turns, job, file, embedder, lambda: report(progress))
        transcript = _worded(label(transcript, turns), job)
        if job.options.keep_segments:  # only now is it known who says them, and where they are cut
            report.now(progress, transcript.segments)
        return transcript

    def _open(self, job: Job, name: str) -> ObjectFile:
        try:
            return self._objects.open(name)
        except JobError as error:
            if self._ledger.fetched(job.id) == name:  # its row says that it is there
                raise UnreadableError(error.message) from error
            raise

    def _duration(self, file: ObjectFile) -> float:
        """Of the recording, in seconds, as far as it says so itself."""
        try:
            with span("job.probe") as traced:
                duration = probe(file).duration_sec
                traced.set(duration_sec=duration)
        finally:
            file.check()
        if duration > self._settings.max_audio_seconds:
            raise AudioTooLong(duration, self._settings.max_audio_seconds)
        return duration

    def _heard(
        self, job: Job, file: ObjectFile, duration: float, report: Reports, diarization: Diarization | None
    ) -> Transcript:
        """What is said. ``diarization`` hears it too; without one, who reads along gets segments as they come."""
        options = job.options
        known = 0

        def heard(seconds: float, new: Sequence[Segment]) -> None:
            nonlocal known
            share = min(1.0, seconds / duration) if duration > 0 else 0.0
            percent = FETCHED_PERCENT + round((BEGIN_PERCENT - FETCHED_PERCENT) * share)
            message = f"Transcribed {_clock(seconds)} of {_clock(max(duration, seconds))}"
            progress = Progress(percent, "transcription", message, known + len(new))
            if options.keep_segments and new and diarization is None:
                report.now(progress, _worded(Transcript(tuple(new), "", 0), job).segments, known)
            else:
                report(progress)
            known += len(new)

        try:
            with span("job.transcribe"):
                return self._files.transcribe(
                    file,
                    heard,
                    language=options.language,
                    silence_sec=None if options.min_silence_ms is None else options.min_silence_ms / 1000,
                    keyterms=options.keyterms,
                    longest_sec=self._settings.max_audio_seconds,
                    listener=(lambda samples: None) if diarization is None else diarization.hear,
                    about={"job_id": job.id},
                )
        except (StreamError, EngineLostError):
            self._check()  # an engine that has failed is not the recording's fault
            raise
        finally:
            file.check()

    def _named(
        self, turns: tuple[Turn, ...], job: Job, file: ObjectFile, embedder: Embedder, check: Callable[[], None]
    ) -> tuple[Turn, ...]:
        """The turns with the names of those whose voices are known."""
        voices = voices_of(job.options, job.key, self._registry, embedder)
        try:
            names = name_speakers(turns, file, voices, embedder, check=check)
        finally:
            file.check()
        return renamed(turns, names)


def _worded(transcript: Transcript, job: Job) -> Transcript:
    if job.options.mask is not None:
        transcript = masked(transcript, job.options.mask)
    return transcript if job.options.punctuate else without_punctuation(transcript)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
