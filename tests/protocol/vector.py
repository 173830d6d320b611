"""Golden conversations: the types of ``protocol/vectors/*.jsonl`` and their parser.

It reads the language that ``protocol/vectors/README.md`` describes, strictly: an unknown key is an error. It knows no
socket and makes no audio; who replays a vector does that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

VECTOR_FOLDER = Path(__file__).resolve().parents[2] / "protocol" / "vectors"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FakeRecognizer(_Strict):
    """How the recognizer behind the replayed server behaves."""

    fails: bool = False


class FakeSpeakers(_Strict):
    """How the diarizer behind the replayed server behaves."""

    revises: bool = False


class Settings(_Strict):
    """Settings of the replayed server that differ from the usual; None leaves one as it is. Times are in seconds."""

    api_keys: list[str] | None = None
    init_timeout: float | None = None
    drain_timeout: float | None = None
    resume_window: float | None = None
    max_sessions: int | None = None
    max_sessions_per_key: int | None = None
    max_message_bytes: int | None = None
    diarizer: str | None = None
    fake_recognizer: FakeRecognizer = FakeRecognizer()
    fake_speakers: FakeSpeakers = FakeSpeakers()


class Head(_Strict):
    """The first line of a file."""

    description: str
    rule: str
    settings: Settings = Settings()


class _ClientStep(_Strict):
    dir: Literal["client"]
    on: str = "main"
    """Name of the connection."""


class _ServerStep(_Strict):
    dir: Literal["server"]
    on: str = "main"
    """Name of the connection."""


class Upgrade(_Strict):
    headers: dict[str, str] = {}
    query: str = ""


class Connect(_ClientStep):
    connect: Upgrade


class SendText(_ClientStep):
    """A message, or the text END. It may hold ``{"$saved": name}`` in the place of any value."""

    text: dict[str, Any] | Literal["END"]


class SendRaw(_ClientStep):
    """A text frame as it stands."""

    raw: str


Sound = Literal["silence", "speech", "noise"]


class Audio(_Strict):
    """What to send, and how it is packed. With a list of kinds, each channel has its own."""

    kind: Sound | list[Sound] | Literal["bytes"]
    seconds: Annotated[float, Field(gt=0)] | None = None
    bytes_b64: Annotated[Base64Bytes, Field(strict=False)] | None = None
    dtype: Literal["float32", "int16", "ulaw", "alaw"] = "int16"
    sample_rate: int = 16_000
    frame_bytes: Annotated[int, Field(gt=0)] | None = None
    json_frames: bool = False
    wav: bool = False
    pace: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _either_sound_or_bytes(self) -> Audio:
        if (self.kind == "bytes") != (self.bytes_b64 is not None) or (self.kind == "bytes") != (self.seconds is None):
            raise ValueError("bytes_b64 belongs to kind bytes, seconds to every other kind")
        return self

    @property
    def channels(self) -> int:
        return len(self.kind) if isinstance(self.kind, list) else 1


class SendAudio(_ClientStep):
    audio: Audio


class Resend(_ClientStep):
    """Send the audio of the connection ``resend`` once more, from the saved sample ``start`` on."""

    resend: str
    start: str


class Wait(_ClientStep):
    wait: Annotated[float, Field(gt=0)]


class Drop(_ClientStep):
    """Cut the connection without a close frame."""

    drop: Literal[True]


class Drain(_ServerStep):
    """The server begins to shut down."""

    drain: Literal[True]


class ExpectEvent(_ServerStep):
    event: dict[str, Any]


class ExpectEvents(_ServerStep):
    """Everything up to and with the first event of ``type``."""

    events: Literal["until"]
    type: str
    include: list[dict[str, Any]] = []
    count: dict[str, int] = {}


class ExpectClose(_ServerStep):
    close: int


class ExpectHttp(_ServerStep):
    """The upgrade is refused."""

    http: int
    headers: dict[str, Any] = {}


Step = (
    Connect
    | SendText
    | SendRaw
    | SendAudio
    | Resend
    | Wait
    | Drop
    | Drain
    | ExpectEvent
    | ExpectEvents
    | ExpectClose
    | ExpectHttp
)

_STEP: TypeAdapter[Step] = TypeAdapter(Step)


class Vector(_Strict):
    """One golden conversation."""

    name: str
    head: Head
    steps: tuple[Step, ...]


def parse_vector(name: str, text: str) -> Vector:
    """Parse the text of a file.

    Raises:
        ValueError: naming the line that is wrong.
    """
    first, *rest = text.splitlines()
    steps: list[Step] = []
    try:
        head = Head.model_validate_json(first)
    except ValueError as error:
        raise ValueError(f"{name}:1: {error}") from error
    for number, line in enumerate(rest, start=2):
        try:
            steps.append(_STEP.validate_json(line))
        except ValueError as error:
            raise ValueError(f"{name}:{number}: {error}") from error
    return Vector(name=name, head=head, steps=tuple(steps))


def load_vectors(folder: Path = VECTOR_FOLDER) -> list[Vector]:
    """All vectors of a folder, by name."""
    return [parse_vector(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.jsonl"))]
