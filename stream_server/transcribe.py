"""Transcribes recordings with the live path's own parts: a file is a session that talks as fast as it is listened to.

Blocking, one file at a time; the engine batches its segments. It knows nothing of jobs, HTTP or formats.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from stream_protocol import events as wire
from stream_protocol.audio_format import AudioFormat
from stream_protocol.errors import StreamError
from stream_protocol.messages import Init
from stream_protocol.transcript import Segment, Transcript
from stream_server.audio.file import AudioFile, probe, read_audio
from stream_server.audio.resample import SAMPLE_RATE
from stream_server.audio.segmenter import SegmenterSettings
from stream_server.audio.vad import VadModel, VadSettings, load_vad
from stream_server.engine.engine import NOTHING, Engine
from stream_server.engine.registry import load_recognizer
from stream_server.engine.stream import EngineStream
from stream_server.engine.work import (
    EngineFullError,
    Failure,
    OpenSegment,
    Outcome,
    PauseSegment,
    Priority,
    Result,
    StreamOptions,
)
from stream_server.negotiation import AUTO, negotiate
from stream_server.session import Session, State
from stream_server.settings import FILE_STREAMS, Settings
from stream_server.speakers.labelling import label
from stream_server.speakers.service import load_speakers

LONGEST_CHUNK_SEC = 5.0

Progress = Callable[[float], None]
"""Called with the share of the file that has been read, from 0 to 1."""

Heard = Callable[[float, Sequence[Segment]], None]
"""Called after every piece of audio with the seconds heard so far and the segments that are new. What it raises ends
the transcription."""

Listener = Callable[[NDArray[np.float32]], None]
"""Called with every piece of audio: mono, 16 kHz. What it raises ends the transcription."""


class FileTranscriber:
    """Transcribes files on an engine that others may use too: live callers come first."""

    def __init__(self, engine: Engine, vad: VadModel, segmenter: SegmenterSettings) -> None:
        self._engine = engine
        self._vad = vad
        self._segmenter = segmenter

    def transcribe(
        self,
        file: AudioFile,
        heard: Heard = lambda seconds, segments: None,
        *,
        language: str = "auto",
        silence_sec: float | None = None,
        keyterms: Sequence[str] = (),
        longest_sec: float | None = None,
        listener: Listener = lambda samples: None,
        about: Mapping[str, str] = NOTHING,
    ) -> Transcript:
        """Transcribe one file; its channels are mixed.

        ``silence_sec``: the pause that ends a segment. ``longest_sec``: more audio than that is refused. ``listener``:
        who else is to hear the file, which is read only once. ``about``: fields for the log, such as the id of the job.

        Raises:
            UnsupportedAudio: not audio, or damaged from the start.
            AudioTooLong: longer than ``longest_sec``.
            ClientError: the model does not speak the language.
            StreamError: the engine has failed.
            OSError: the file cannot be read.
        """
        # Nobody waits for the next word here, so a streaming model may take its longest chunks: they are the surest.
        init = Init(language=language, partials=False, chunk_size_sec=LONGEST_CHUNK_SEC, keyterms=list(keyterms))
        config = negotiate(init, self._engine.info, (self._vad.name,))
        config = replace(
            config,
            audio=AudioFormat("float32", SAMPLE_RATE, 1),
            silence_threshold_sec=config.silence_threshold_sec if silence_sec is None else silence_sec,
        )
        session = Session("file", config, self._vad, self._segmenter, model=self._engine.info, now=time.monotonic())
        options = replace(config.stream_options(), priority=Priority.BATCH)
        run = _Run(session, self._engine, options, self._vad, about)
        segments: list[Segment] = []
        samples = 0
        try:
            for block in read_audio(file, longest_sec=longest_sec):
                mono = block.mean(axis=0)
                session.receive_samples(mono[np.newaxis], time.monotonic())
                samples += len(mono)
                run.pass_on()
                listener(mono)
                new = run.take()
                segments += new
                heard(samples / SAMPLE_RATE, new)
            session.receive_text("END", time.monotonic())
            run.finish()
        finally:
            run.close()
        new = run.take()
        segments += new
        heard(samples / SAMPLE_RATE, new)
        spoken = run.language if config.language == AUTO else None
        return Transcript(tuple(segments), spoken or config.language, round(1000 * samples / SAMPLE_RATE))


class Transcriber:
    """A model of its own for the transcription of files; a context manager.

    Raises:
        UnknownModelError, VadUnavailableError: from the constructor.
    """

    def __init__(self, settings: Settings) -> None:
        vad = load_vad(settings.vad, VadSettings())
        self._speakers = load_speakers(settings)
        self._engine = Engine(load_recognizer(settings.model, settings.recognizer), settings.engine)
        self._files = FileTranscriber(self._engine, vad, settings.file_segmenter_for(self._engine.info))
        self._engine.start()

    def __enter__(self) -> Transcriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.stop()

    def transcribe(
        self,
        path: Path,
        progress: Progress = lambda share: None,
        *,
        language: str = "auto",
        diarize: bool = False,
        num_speakers: int | None = None,
    ) -> Transcript:
        """Transcribe one file; `FileTranscriber.transcribe` says what it raises.

        ``diarize``: tell the speakers apart; ``num_speakers``: how many there are, where that is known.

        Raises:
            DiarizerError: they cannot be told apart.
        """
        duration = probe(path).duration_sec

        def heard(seconds: float, segments: Sequence[Segment]) -> None:
            progress(min(1.0, seconds / duration) if duration > 0 else 0.0)

        if diarize:
            with closing(self._speakers.diarizer().open(num_speakers)) as diarization:
                transcript = self._files.transcribe(path, heard, language=language, listener=diarization.hear)
                transcript = label(transcript, diarization.finish())
        else:
            transcript = self._files.transcribe(path, heard, language=language)
        progress(1.0)
        return transcript


class _Run:
    """The session's commands to the engine, and the results back in the order of the recording.

    With a model that takes whole segments, segments of one file are decoded side by side: each goes to a stream of its
    own, as many as `FILE_STREAMS`. A streaming model hears the file through one.
    """

    def __init__(
        self, session: Session, engine: Engine, options: StreamOptions, vad: VadModel, about: Mapping[str, str]
    ) -> None:
        self._session = session
        self._vad = vad
        self._results: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._streams: list[EngineStream] = []
        self._free: list[EngineStream] = []
        self._taken: dict[int, EngineStream] = {}
        """By the segment that is decoded there, in the order of the recording."""
        self._finals: dict[int, wire.FinalSegment] = {}
        self._spoken: Counter[str] = Counter()
        self._is_streaming = engine.info.kind == "streaming"
        try:
            for _ in range(1 if self._is_streaming else FILE_STREAMS):
                self._streams.append(engine.open(options, self._results.put, about=about))
        except EngineFullError:
            if not self._streams:
                raise
        self._free += self._streams
        self._current = self._streams[0]

    @property
    def language(self) -> str | None:
        """The language in which most was said; None as long as nothing was."""
        return max(self._spoken, key=self._spoken.__getitem__, default=None)

    def take(self) -> list[Segment]:
        """The segments that came since this was last asked, as far as none before them is missing."""
        ready = []
        for segment_id in sorted(self._finals):
            if self._taken and segment_id > min(self._taken):
                break
            event = self._finals.pop(segment_id)
            if event.text:
                ready.append(_segment(event))
        return ready

    def pass_on(self) -> None:
        """Pass on what the session has for the engine; blocks while the engine does not keep up."""
        while detections := self._session.detections_to_run():
            for channel, item in detections:
                speech = self._vad.detect([item.state], [item.frames])[0]
                self._session.receive_speech(channel, speech, time.monotonic())
        for _, command in self._session.commands_to_submit():
            if isinstance(command, OpenSegment):
                self._open(command.segment_id)
            if not isinstance(command, PauseSegment):  # nobody waits for the final so much that it is made in advance
                self._current.submit([command])
        while self._current.backlog > 1 or not self._results.empty():
            self._receive()
        self._look_at_events()

    def finish(self) -> None:
        """Wait for what is still to come."""
        self.pass_on()
        while self._session.state is not State.CLOSED:
            self._receive()
            self._look_at_events()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        self._session.close()

    def _open(self, segment_id: int) -> None:
        while not (self._free or self._is_streaming):
            self._receive()
            self._look_at_events()
        if not self._is_streaming:
            self._current = self._free.pop()
        self._taken[segment_id] = self._current

    def _receive(self) -> None:
        outcome = self._results.get()
        self._session.receive_outcome(outcome, time.monotonic())
        if isinstance(outcome, Failure) or (isinstance(outcome, Result) and outcome.is_final):
            stream = self._taken.pop(outcome.segment_id, None)
            if stream is not None and not self._is_streaming:
                self._free.append(stream)

    def _look_at_events(self) -> None:
        for event in self._session.events_to_send():
            if isinstance(event, wire.FinalSegment):
                self._finals[event.segment_id] = event
                if event.text:
                    self._spoken[event.language] += event.duration_ms
            elif isinstance(event, wire.Error):
                raise StreamError(event.code, event.message)


def _segment(event: wire.FinalSegment) -> Segment:
    return Segment(
        text=event.text,
        start_ms=event.offset_ms,
        end_ms=event.offset_ms + event.duration_ms,
        confidence=event.confidence,
        words=event.words or (),
        channel=event.channel,
    )
