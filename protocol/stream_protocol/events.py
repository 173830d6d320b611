"""What the server says: one frozen dataclass per event.

``Ready``, ``Ack``, ``Warning`` and ``Error`` belong to the connection. All others belong to the session: they carry
``seq`` (1, 2, 3, ... without a gap) and are replayed when a broken session is resumed. Times are integer milliseconds
from the first sample. A field whose value is None is left out on the wire. The string below a field is its description
in the published schemas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal

from stream_protocol.errors import ErrorCode
from stream_protocol.transcript import Word


class WarningCode(StrEnum):
    """What to know about; a newer server may have more of them."""

    BACKPRESSURE = "BACKPRESSURE"  # audio waits to be recognized: the sender is slowed down
    DEGRADED = "DEGRADED"  # partials come less often than asked for, or late
    DRAINING = "DRAINING"  # the server is shutting down; finish before the deadline


@dataclass(frozen=True, slots=True)
class Ready:
    """Always the first event, unless it is an error."""

    type: ClassVar[str] = "ready"
    session_id: str
    """Names the session: for support, and to resume it."""
    resume_token: str
    """Proves, on resume, that the session is yours."""
    protocol: int
    """Version of this protocol."""
    model: str
    """The model in use."""
    language: str
    """The language asked for: a BCP 47 code, or `auto`."""
    config: dict[str, Any]
    """What is in force: every field of init after defaults and clamping, without keys and resume fields."""
    ignored: tuple[str, ...] = ()
    """Names of the init fields that the server does not know."""
    resumed: bool = False
    """Whether this continues an earlier session."""
    received_samples: int = 0
    """Samples per channel, at the sample rate of init, that the server has: send the audio from here on."""


@dataclass(frozen=True, slots=True)
class Ack:
    """``received_samples`` (per channel, at the caller's rate) may be forgotten by the client."""

    type: ClassVar[str] = "ack"
    received_samples: int
    """Samples per channel, at the sample rate of init, that will not be asked for again."""


@dataclass(frozen=True, slots=True)
class Warning:  # the event's name on the wire; the builtin is never needed here
    """Something the caller may want to show; the session goes on."""

    type: ClassVar[str] = "warning"
    code: WarningCode
    """A newer server may have more of them."""
    message: str
    """For people to read."""
    level: float | None = None
    """`BACKPRESSURE`: how full the server's queue for this session is, from 0 to 1, where it is read more slowly.
    `DEGRADED`: 0 when it is over."""
    deadline_sec: float | None = None
    """`DRAINING`: seconds until the server closes the connection."""


@dataclass(frozen=True, slots=True)
class Error:
    """What was wrong and what is allowed; a close with the code's number follows."""

    type: ClassVar[str] = "error"
    code: ErrorCode
    """A code of the error table; a newer server may have more of them."""
    message: str
    """What was wrong and what is allowed, for people to read."""
    retry_after: float | None = None
    """Seconds to wait before trying again, where waiting helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStart:
    """Speech began at ``offset_ms``."""

    type: ClassVar[str] = "speech_start"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    segment_id: int
    """0, 1, 2, ... over the session, in the order of `speech_start`, all channels together."""
    offset_ms: int
    """Where the speech begins."""
    channel: int = 0
    """Which channel of the audio, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """The text so far. Its first ``stable_chars`` characters will not change any more."""

    type: ClassVar[str] = "partial"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    segment_id: int
    """0, 1, 2, ... over the session, in the order of `speech_start`, all channels together."""
    text: str
    """The segment so far."""
    stable_chars: int
    """So many Unicode code points at the start of `text` are final."""
    language: str
    """BCP 47 code of the language spoken."""
    offset_ms: int
    """Where the speech of the segment begins."""
    duration_ms: int
    """How long the speech of the segment is so far."""
    audio_duration_sec: float
    """Seconds of audio decoded for this text."""
    latency_ms: float
    """From the moment the server had the last audio of this text to the sending of the event."""
    is_final: Literal[False] = False
    channel: int = 0
    """Which channel of the audio, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechEnd:
    """Speech ended at ``offset_ms``; the final of this segment follows."""

    type: ClassVar[str] = "speech_end"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    segment_id: int
    """0, 1, 2, ... over the session, in the order of `speech_start`, all channels together."""
    offset_ms: int
    """Where the speech ends."""
    channel: int = 0
    """Which channel of the audio, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSegment:
    """The text of a segment, once and for all. It may be empty."""

    type: ClassVar[str] = "final_segment"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    segment_id: int
    """0, 1, 2, ... over the session, in the order of `speech_start`, all channels together."""
    text: str
    """The text of the segment; may be empty."""
    language: str
    """BCP 47 code of the language spoken."""
    offset_ms: int
    """Where the speech of the segment begins."""
    duration_ms: int
    """How long the speech of the segment is."""
    audio_duration_sec: float
    """Seconds of audio decoded for this text."""
    silence_duration_ms: int
    """Silence heard after the speech before the segment was ended; 0 after a cut."""
    confidence: float
    """From 0 to 1; 0 where the text is empty."""
    words: tuple[Word, ...] | None = None
    """The words of `text` in order; left out when `words` is false, or the model cannot say where they lie."""
    speaker: str | None = None
    """Who says most of it: `SPEAKER_00`, `SPEAKER_01`, ... where init asked to `diarize`; left out without text."""
    latency_ms: float
    """From the decision that speech has ended to the sending of the event."""
    is_final: Literal[True] = True
    channel: int = 0
    """Which channel of the audio, from 0."""


@dataclass(frozen=True, slots=True)
class RevisedSegment:
    """Who speaks in a segment whose final was sent, after all."""

    segment_id: int
    """That of the final."""
    speaker: str
    """In the place of the final's `speaker`."""
    words: tuple[str, ...] | None = None
    """The speaker of each of the final's `words`, in order; left out where it had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakersRevised:
    """What was said about the speakers of earlier finals was wrong: this is so instead."""

    type: ClassVar[str] = "speakers_revised"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    segments: tuple[RevisedSegment, ...]
    """Those whose speakers have changed, in order of `segment_id`; all others stay as they were told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """Everything that was sent before the flush of this ``id`` is final."""

    type: ClassVar[str] = "flushed"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    id: int | str | None = None
    """The `id` of the flush; left out when it had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The settings now in force."""

    type: ClassVar[str] = "configured"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    config: dict[str, Any] = field(default_factory=dict)
    """What is in force now: the same fields as `ready.config`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfTranscript:
    """The whole transcript."""

    type: ClassVar[str] = "end_of_transcript"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    text: str
    """All finals in order of `offset_ms` and then `channel`, joined by single spaces, empty ones left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The last event; close 1000 follows."""

    type: ClassVar[str] = "done"
    seq: int
    """1, 2, 3, ... over the session, without a gap."""
    total_segments: int
    """Number of `final_segment` events."""
    total_audio_duration_sec: float
    """Seconds of audio received; channels are not added up."""
    connection_duration_sec: float
    """Seconds from the init to this event, time between connections included."""


ConnectionEvent = Ready | Ack | Warning | Error
SessionEvent = (
    SpeechStart | Partial | SpeechEnd | FinalSegment | SpeakersRevised | Flushed | Configured | EndOfTranscript | Done
)
Event = ConnectionEvent | SessionEvent

EVENT_TYPES: dict[str, type[Event]] = {
    event.type: event
    for event in (
        Ready,
        Ack,
        Warning,
        Error,
        SpeechStart,
        Partial,
        SpeechEnd,
        FinalSegment,
        SpeakersRevised,
        Flushed,
        Configured,
        EndOfTranscript,
        Done,
    )
}
