"""One segment of a session, and how it is told over the wire: samples become milliseconds. No I/O, no state machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream_protocol.events import FinalSegment, Partial, SpeechEnd, SpeechStart
from stream_protocol.transcript import Word
from stream_server.engine.work import SAMPLE_RATE, Result, TimedWord

SAMPLES_PER_MS = SAMPLE_RATE // 1000


@dataclass(slots=True)
class SessionSegment:
    """A segment on its way from `speech_start` to `final_segment`. Positions are samples of its channel.

    ``sure``: audio before it cannot be cut off any more. ``ended_at``: when `speech_end` was decided, None before.
    """

    id: int
    channel: int
    start: int
    speech: int
    sure: int
    speech_end: int = 0
    silence: int = 0
    ended_at: float | None = None

    def end(self, speech_end: int, silence: int, now: float) -> None:
        self.speech_end, self.silence, self.ended_at = speech_end, silence, now

    def speech_start_event(self, seq: int) -> SpeechStart:
        return SpeechStart(seq=seq, segment_id=self.id, offset_ms=self.speech // SAMPLES_PER_MS, channel=self.channel)

    def speech_end_event(self, seq: int) -> SpeechEnd:
        return SpeechEnd(seq=seq, segment_id=self.id, offset_ms=self.speech_end // SAMPLES_PER_MS, channel=self.channel)

    def partial_event(self, seq: int, result: Result, latency: float) -> Partial:
        """``latency`` is in seconds, from when the audio of the result had come."""
        hypothesis = result.hypothesis
        return Partial(
            seq=seq,
            segment_id=self.id,
            text=hypothesis.text,
            stable_chars=hypothesis.stable_chars,
            language=hypothesis.language,
            offset_ms=self.speech // SAMPLES_PER_MS,
            duration_ms=max(0, result.end - self.speech) // SAMPLES_PER_MS,
            audio_duration_sec=_seconds(result),
            latency_ms=_milliseconds(latency),
            channel=self.channel,
        )

    def final_event(self, seq: int, result: Result, now: float, *, with_words: bool) -> FinalSegment:
        assert self.ended_at is not None
        hypothesis = result.hypothesis
        words = None if hypothesis.words is None or not with_words else _words(hypothesis.words)
        start, end = self.speech // SAMPLES_PER_MS, self.speech_end // SAMPLES_PER_MS
        if words:  # they lie anywhere in the segment's audio, of which the detector took the edges for silence
            start, end = min(start, words[0].start_ms), max(end, words[-1].end_ms)
        return FinalSegment(
            seq=seq,
            segment_id=self.id,
            text=hypothesis.text,
            language=hypothesis.language,
            offset_ms=start,
            duration_ms=end - start,
            audio_duration_sec=_seconds(result),
            silence_duration_ms=self.silence // SAMPLES_PER_MS,
            confidence=round(hypothesis.confidence, 3),
            words=words,
            latency_ms=_milliseconds(now - self.ended_at),
            channel=self.channel,
        )


def _seconds(result: Result) -> float:
    """How much audio a result was made of."""
    return round((result.end - result.start) / SAMPLE_RATE, 3)


def _milliseconds(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 1)


def _words(words: Sequence[TimedWord]) -> tuple[Word, ...]:
    return tuple(
        Word(
            word=item.word,
            start_ms=item.start // SAMPLES_PER_MS,
            end_ms=item.end // SAMPLES_PER_MS,
            confidence=round(item.confidence, 3),
        )
        for item in words
    )
