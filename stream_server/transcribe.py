"""Transcribes recordings with the live path's own parts: a file is a session that talks as fast as it is listened to.

Blocking, one file at a time; the engine batches its segments. It knows nothing of jobs, HTTP or formats.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from stream_protocol import events as wire
from stream_protocol.audio_format import AudioFormat
from stream_protocol.errors import StreamError
from stream_protocol.messages import Init
from stream_protocol.transcript import Segment, Transcript
from stream_server.audio.file import probe, read_audio
from stream_server.audio.resample import SAMPLE_RATE
from stream_server.audio.vad import VadModel, VadSettings, load_vad
from stream_server.engine.engine import Engine, EngineStream
from stream_server.engine.registry import load_recognizer
from stream_server.engine.work import Outcome, Priority
from stream_server.negotiation import negotiate
from stream_server.session import Session, State
from stream_server.settings import Settings

LONGEST_CHUNK_SEC = 5.0

Progress = Callable[[float], None]
"""Called with the share of the file that has been read, from 0 to 1."""


class Transcriber:
    """A loaded model that transcribes files; a context manager.

    Raises:
        UnknownModelError, VadUnavailableError: from the constructor.
    """

    def __init__(self, settings: Settings) -> None:
        self._vad = load_vad(settings.vad, VadSettings())
        self._engine = Engine(load_recognizer(settings.model, settings.recognizer), settings.engine)
        self._segmenter = settings.segmenter_for(self._engine.info)
        self._engine.start()

    def __enter__(self) -> Transcriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.stop()

    def transcribe(self, path: Path, progress: Progress = lambda share: None, *, language: str = "auto") -> Transcript:
        """Transcribe one file; its channels are mixed.

        Raises:
            UnsupportedAudio: not audio, or damaged from the start.
            ClientError: the model does not speak the language.
            OSError: the file cannot be read.
        """
        duration = probe(path).duration_sec
        # Nobody waits for the next word here, so a streaming model may take its longest chunks: they are the surest.
        init = Init(language=language, partials=False, chunk_size_sec=LONGEST_CHUNK_SEC)
        config = negotiate(init, self._engine.info, (self._vad.name,))
        config = replace(config, audio=AudioFormat("float32", SAMPLE_RATE, 1))
        session = Session(path.name, config, self._vad, self._segmenter, model=self._engine.info, now=time.monotonic())
        results: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        stream = self._engine.open(replace(config.stream_options(), priority=Priority.BATCH), results.put)
        run = _Run(session, stream, results, self._vad)
        heard = 0
        try:
            for block in read_audio(path):
                session.receive_samples(block.mean(axis=0, keepdims=True), time.monotonic())
                heard += block.shape[1]
                run.turn(wait=False)
                progress(min(1.0, heard / SAMPLE_RATE / duration) if duration > 0 else 0.0)
            session.receive_text("END", time.monotonic())
            run.turn(wait=True)
        finally:
            stream.close()
            session.close()
        progress(1.0)
        return Transcript(tuple(run.segments), config.language, round(1000 * heard / SAMPLE_RATE))


class _Run:
    """The session's commands to the engine, and the results back, until there is nothing to wait for."""

    def __init__(
        self, session: Session, stream: EngineStream, results: queue.SimpleQueue[Outcome], vad: VadModel
    ) -> None:
        self.segments: list[Segment] = []
        self._session = session
        self._stream = stream
        self._results = results
        self._vad = vad

    def turn(self, *, wait: bool) -> None:
        """Pass on what is there; with ``wait`` until the session is closed, else until the engine keeps up."""
        while True:
            self._pass_on()
            must_wait = wait and self._session.state is not State.CLOSED
            if not (must_wait or self._stream.is_behind or not self._results.empty()):
                return
            self._session.receive_outcome(self._results.get(), time.monotonic())

    def _pass_on(self) -> None:
        while detections := self._session.detections_to_run():
            for channel, item in detections:
                speech = self._vad.detect([item.state], [item.frames])[0]
                self._session.receive_speech(channel, speech, time.monotonic())
        self._stream.submit([command for _, command in self._session.commands_to_submit()])
        for event in self._session.events_to_send():
            if isinstance(event, wire.FinalSegment) and event.text:
                self.segments.append(_segment(event))
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
