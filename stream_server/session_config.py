"""What is in force for a session, and what it means for the segmenter and the engine. No I/O, no state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from stream_protocol.audio_format import AudioFormat
from stream_server.audio.segmenter import SegmenterSettings
from stream_server.engine.work import SAMPLE_RATE, StreamOptions


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What is in force for a session, after defaults, clamping and negotiation."""

    model: str
    language: str
    audio: AudioFormat
    chunk_size_sec: float = 0.5
    silence_threshold_sec: float = 0.8
    max_segment_sec: float = 20.0
    partials: bool = True
    words: bool = True
    diarize: bool = False
    inactivity_timeout: float = 300.0
    max_connection_duration: float = 3600.0
    vad: str = "webrtc"
    keyterms: tuple[str, ...] = ()
    acks: bool = False

    def echo(self) -> dict[str, Any]:
        """The fields as ``ready`` and ``configured`` report them."""
        values = asdict(self)
        audio: dict[str, Any] = values.pop("audio")
        return audio | values

    @property
    def needs_voices(self) -> bool:
        """Whether speakers have to be told apart by their voices, as far as the init says."""
        return self.diarize and self.audio.channels == 1

    def stream_options(self) -> StreamOptions:
        return StreamOptions(
            language=self.language,
            partial_samples=round(self.chunk_size_sec * SAMPLE_RATE) if self.partials else None,
            chunk_samples=round(self.chunk_size_sec * SAMPLE_RATE),
            words=self.words,
            keyterms=self.keyterms,
        )

    def segmenter_settings(self, base: SegmenterSettings) -> SegmenterSettings:
        return replace(
            base,
            silence_threshold=round(self.silence_threshold_sec * SAMPLE_RATE),
            max_segment=round(self.max_segment_sec * SAMPLE_RATE),
        )
