"""What a client may say: one pydantic model per message.

Types are checked strictly (a number is not a string), numbers out of range are clamped, unknown fields are collected
rather than refused, and null means the default. The string below a field is its description in the published schemas.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stream_protocol.audio_format import DTYPES, MAX_CHANNELS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

PROTOCOL_VERSION = 1
MAX_KEYTERMS = 100
MAX_KEYTERM_CHARS = 100
MAX_IGNORED = 100
MAX_IGNORED_CHARS = 100


def _clamped(low: float, high: float) -> tuple[Any, ...]:
    """Annotations of a number of seconds that is moved into its range; the schema shows the range, but allows more."""

    def clamp(value: float) -> float:
        return min(max(value, low), high)

    shown = Field(allow_inf_nan=False, json_schema_extra={"x-clamped": [low, high]})
    return shown, AfterValidator(clamp)


def _not_negative(value: int) -> int:
    return max(value, 0)


def _keyterms(terms: list[str]) -> list[str]:
    """Keep the first hundred non-empty terms, each cut to a hundred characters: clamped, as numbers are."""
    return [term.strip()[:MAX_KEYTERM_CHARS] for term in terms if term.strip()][:MAX_KEYTERMS]


ChunkSec = Annotated[float, *_clamped(0.08, 5.0)]
SilenceSec = Annotated[float, *_clamped(0.1, 10.0)]
SegmentSec = Annotated[float, *_clamped(2.0, 60.0)]
InactivitySec = Annotated[float, *_clamped(1.0, 3600.0)]
ConnectionSec = Annotated[float, *_clamped(1.0, 86_400.0)]
Keyterms = Annotated[list[str], AfterValidator(_keyterms)]

# Shown in the schema, but checked by AudioFormat.parse: out of range is UNSUPPORTED_AUDIO, not INVALID_INIT.
Dtype = Annotated[str, Field(json_schema_extra={"enum": list(DTYPES)})]
SampleRate = Annotated[int, Field(json_schema_extra={"minimum": MIN_SAMPLE_RATE, "maximum": MAX_SAMPLE_RATE})]
Channels = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": MAX_CHANNELS})]


class Message(BaseModel):
    """Base of every message: strict types, null means the default, unknown fields are kept aside."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
        return data

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the fields that this version does not know: at most a hundred, cut to a hundred characters."""
        return tuple(name[:MAX_IGNORED_CHARS] for name in sorted(self.model_extra or {})[:MAX_IGNORED])


class Init(Message):
    """The first frame of a connection."""

    type: Literal["init", "config"] = "init"
    """May be left out; both names mean the same."""
    api_key: str | None = Field(default=None, repr=False)
    """The key, where neither the `Authorization` header nor `?token=` carries it."""
    model: str | None = None
    """Name of the model; the server's own default when left out. `GET /v1/models` lists them."""
    language: str = "auto"
    """BCP 47 code of the language spoken, or `auto`."""
    sample_rate: SampleRate = 16_000
    """Hertz, of the audio that will be sent. The server resamples. Out of range is `UNSUPPORTED_AUDIO`."""
    dtype: Dtype = "float32"
    """Sample type, little endian. `container` is WebM/Opus or Ogg/Opus as browsers record it."""
    channels: Channels = 1
    """Interleaved channels. Each is segmented by itself. Out of range is `UNSUPPORTED_AUDIO`."""
    chunk_size_sec: ChunkSec = 0.5
    """How often a partial may come, in seconds; a streaming model takes the nearest it has (see `ready.config`)."""
    silence_threshold_sec: SilenceSec = 0.8
    """Seconds of silence that end a segment."""
    max_segment_sec: SegmentSec = 20.0
    """A segment of this many seconds is made final even in mid-speech."""
    partials: bool = True
    """Whether to send `partial` events."""
    words: bool = True
    """Whether finals carry `words`."""
    diarize: bool = False
    """Whether finals say who speaks: the channel where there are several, else told apart by their voices."""
    inactivity_timeout: InactivitySec = 300.0
    """Seconds without audio or `keepalive` until the session ends with `TIMEOUT`; without a connection none pass."""
    max_connection_duration: ConnectionSec = 3600.0
    """Seconds after which the server ends the session with `TIMEOUT`."""
    vad: str | None = None
    """Voice activity detector: `webrtc` or `silero`; the server's own default when left out."""
    keyterms: Keyterms = []
    """Words or phrases to favour, where the model can: the first 100, cut to 100 characters, as far as it has room."""
    session_id: str | None = None
    """Resume: the `session_id` of the broken session's `ready`."""
    resume_token: str | None = Field(default=None, repr=False)
    """Resume: the `resume_token` of the same `ready`."""
    last_seq: Annotated[int, Field(json_schema_extra={"x-clamped": [0, None]}), AfterValidator(_not_negative)] = 0
    """Resume: `seq` of the last event that arrived; 0 for none."""
    acks: bool = False
    """Whether to send `ack` events."""


class Frame(Message):
    """Audio in JSON, for clients that cannot send binary frames."""

    type: Literal["frame"]
    audio: str
    """Base64, with padding, of what a binary frame would hold."""


class Flush(Message):
    """Make what has been heard final now; answered with `flushed`."""

    type: Literal["flush"]
    id: int | str | None = None
    """Comes back in `flushed`."""


class Keepalive(Message):
    """Nothing to say, but still here: resets the inactivity timeout."""

    type: Literal["keepalive"]


class Configure(Message):
    """Change settings in mid-stream; answered with `configured`. Absent fields stay as they are."""

    type: Literal["configure"]
    chunk_size_sec: ChunkSec | None = None
    """As in init, from now on; with a streaming model from the next segment on."""
    silence_threshold_sec: SilenceSec | None = None
    """As in init, from now on, the open segment included."""
    max_segment_sec: SegmentSec | None = None
    """As in init, from the next segment on."""
    partials: bool | None = None
    """As in init, from now on."""
    words: bool | None = None
    """As in init, for every final still to come."""
    keyterms: Keyterms | None = None
    """As in init, from the next segment on."""


class End(Message):
    """No more audio: make everything final, send the transcript and close."""

    type: Literal["end"]


# What `ready.config` and `configured.config` hold: every setting of the session, but no key and nothing of a resume.
CONFIG_FIELDS = tuple(
    name for name in Init.model_fields if name not in {"type", "api_key", "session_id", "resume_token", "last_seq"}
)

ClientMessage = Init | Frame | Flush | Keepalive | Configure | End

MESSAGE_TYPES: dict[str, type[Message]] = {
    "frame": Frame,
    "flush": Flush,
    "keepalive": Keepalive,
    "configure": Configure,
    "end": End,
}
