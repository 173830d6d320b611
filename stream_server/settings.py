"""Every setting of the server, in one frozen object, from the environment and the command line.

Environment variables are the field names in capitals behind ``STREAM_SERVER_``, for instance
``STREAM_SERVER_MAX_SESSIONS=500``; lists are separated by commas. What the command line gives wins. An unknown name is
an error, so that a misspelt setting cannot pass unnoticed. Nothing else in the program reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from stream_server.audio.segmenter import SegmenterSettings
from stream_server.engine.engine import EngineSettings
from stream_server.engine.fastconformer.settings import FastConformerSettings, KeytermSettings
from stream_server.engine.moonshine.recognizer import MoonshineSettings
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.engine.registry import RecognizerSettings
from stream_server.engine.transformers.settings import TransformersSettings
from stream_server.engine.work import SAMPLE_RATE

PREFIX = "STREAM_SERVER_"

STREAMING_CUT = SAMPLE_RATE // 2

FILE_MARGIN = 3 * SAMPLE_RATE // 10
"""Audio before and after the speech of a file that belongs to the segment."""

FILE_STREAMS = 2
"""Segments of one file that may be decoded at the same time. With four the embedded model takes 60 MB more, and is no
faster."""


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it."""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(value: str) -> str:
    """An origin as browsers write it: in small letters, without the port that its scheme has anyhow."""
    match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^\s/?#@]+)", value.lower())
    if value == "*":
        return value
    if match is None:
        raise ValueError("an origin is written https://app.example.com, with nothing behind it; * allows all")
    scheme, host = match.groups()
    return f"{scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}.get(scheme, ''))}"


def _network(value: str) -> str:
    if value != "*":
        try:
            ip_network(value)
        except ValueError:
            raise ValueError("an address or a network is written 10.0.0.7 or 10.0.0.0/8; * stands for all") from None
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_split)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_split)]


def _data_dir() -> Path:
    """The user's folder for such things; a folder here for a user who has no home, as in some containers."""
    try:
        return Path.home() / ".local" / "share" / "stream-server"
    except RuntimeError:
        return Path("stream-server-data")


def exports_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Whether OpenTelemetry's own variables ask for traces: they name an exporter, or somewhere to send them. All else
    of ``OTEL_*`` is read by OpenTelemetry itself, ``OTEL_SDK_DISABLED`` among them."""
    environ = os.environ if environ is None else environ
    if exporters := environ.get("OTEL_TRACES_EXPORTER"):
        return "otlp" in _split(exporters)
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(environ.get(name) for name in names)


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseModel):
    """The server's settings. Durations are in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data_dir: Path = Field(default_factory=_data_dir)
    """Where the server keeps its files; ``api-keys`` in it is the default of ``api_key_file``."""
    tls_certificate: Path | None = None
    """PEM file of the certificate to serve HTTPS and ``wss://`` with; without it TLS is a proxy's job."""
    tls_key: Path | None = None
    """PEM file of its key, where that is not in the same file."""
    allowed_origins: Origins = ()
    """Origins (``https://app.example.com``) whose pages may use the server beside its own; ``*`` for every one."""
    trusted_proxies: Networks = ("127.0.0.1", "::1")
    """Addresses and networks of proxies whose ``X-Forwarded-*`` headers are believed; ``*`` for everyone."""

    model: str = "moonshine-tiny"
    """A name that the command ``models`` lists, a folder with a checkpoint, or a repository of the Hugging Face hub."""
    model_aliases: Names = (
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-transcribe-diarize",
        "zero-indic",
        "cpu-lite",
    )
    """Names that clients of other services are written with, taken for ``model``."""
    model_languages: Names = ()
    """What a model of the hub speaks, where its checkpoint does not say; without, such a model is taken for English."""
    device: str = "auto"
    """Where the model runs: ``auto`` is the first GPU that can be used, else the CPU."""
    graph_memory: int = Field(8 * 2**30, ge=0)
    """GPU memory that captured steps of a streaming model may take."""
    threads: int = Field(0, ge=0, le=256)
    """Threads of one model step; 0 takes as many as there are cores for the process, at most four."""
    keyterm_bonus: float = Field(1.0, ge=0, le=100)
    """How strongly a streaming model favours a caller's keyterms: what the first token of one gains, in nats."""
    vad: Literal["webrtc", "silero"] = "webrtc"

    api_keys: Names = Field((), repr=False)
    api_key_file: Path | None = None
    """One key per line; empty lines and lines that begin with # are skipped."""

    max_sessions: int = Field(256, ge=1, le=100_000)
    admission: Literal["measured", "fixed"] = "measured"
    """Whether new sessions are refused as soon as the device has no room for them, or only at ``max_sessions``."""
    max_sessions_per_key: int = Field(0, ge=0)
    """Sessions at once of one API key; 0 for no limit."""
    max_backlog: float = Field(60.0, gt=0)
    """Seconds of a caller's audio that may wait for finals before its socket is no longer read."""
    step_timeout: float = Field(60.0, gt=0)
    """How long one step of the model may take. One that takes longer hangs: the server takes no sessions any more."""
    max_message_bytes: int = Field(4 * 2**20, ge=1024)
    max_unsent_events: int = Field(2000, ge=10)
    """Events that may wait for a client that does not read."""
    init_timeout: float = Field(10.0, gt=0)
    resume_window: float = Field(30.0, ge=0)
    """How long a session outlives its socket."""
    drain_timeout: float = Field(10.0, ge=0)
    """How long a shutdown lets sessions go on before it ends them, finals first."""
    retry_after: float = Field(5.0, gt=0)
    """What a refused caller is told to wait."""

    database_url: str = Field("", repr=False)
    """Where jobs and keys are kept: ``sqlite:///PATH`` or ``postgresql://...``; a file in ``data_dir`` by default."""
    object_store: str = ""
    """Where audio is kept until its job is done: a folder or ``s3://bucket/prefix``; in ``data_dir`` by default."""
    secret: SecretStr = SecretStr("")
    """What keys, tokens and addresses are signed with; by default a file in ``data_dir`` that is made once."""
    job_worker: Literal["auto", "process", "inline", "elsewhere", "off"] = "auto"
    """Where jobs are worked off: in a process beside the server, in the server with the engine of the live callers, by
    ``stream-server worker`` elsewhere, or not at all. ``auto``: with a GPU in the server, else beside it."""
    max_jobs: int = Field(2, ge=1, le=256)
    """Jobs that one worker works on at the same time; and as many more for callers who wait for the answer."""
    max_queued_jobs: int = Field(10_000, ge=1)
    """Unfinished jobs of one API key; more are refused."""
    job_retention: float = Field(7 * 86_400.0, gt=0)
    """How long a finished job and its result are kept."""
    audio_retention: float = Field(0.0, ge=0)
    """How long the audio of a finished job is kept; 0 deletes it at once."""
    sync_timeout: float = Field(300.0, gt=0)
    """How long a request waits for its transcript."""
    max_upload_bytes: int = Field(500 * 10**6, ge=1024)
    max_audio_seconds: float = Field(4 * 3600.0, gt=0)
    upload_timeout: float = Field(60.0, gt=0)
    """How long an upload may go without a byte."""
    upload_expiry: float = Field(3600.0, gt=0)
    """How long the address of a signed upload is good, and how long what was uploaded waits for its job."""
    fetch_timeout: float = Field(600.0, gt=0)
    """How long the download of an address may take in all."""
    allowed_hosts: Names = ()
    """Hosts and networks (``files.internal``, ``10.1.0.0/16``) that may be fetched from and called back although they
    are private."""
    s3_buckets: Names = ()
    """Buckets that ``s3://`` addresses may name."""
    callback_attempts: int = Field(12, ge=1, le=100)
    """Tries for one callback, the pauses between them growing to an hour; twelve take about five hours."""
    requests_per_minute: int = Field(0, ge=0)
    """HTTP requests and new live sessions of one API key that has no limit of its own; 0 for none, here as below."""
    concurrent_requests: int = Field(0, ge=0)
    audio_hours_per_day: float = Field(0.0, ge=0)
    token_lifetime: float = Field(60.0, gt=0, le=3600)
    """Seconds in which a browser token must be used."""
    translation_model: str = ""
    """A translation model of the Hugging Face hub or a folder; needs the extra ``gpu`` or ``torch``."""
    chat_url: str = Field("", repr=False)
    """An OpenAI-compatible endpoint (``https://host/v1``) for summaries, sentiment, intent, normalized text, and for
    translation where no ``translation_model`` is set."""
    chat_model: str = ""
    chat_api_key: SecretStr = SecretStr("")
    chat_timeout: float = Field(120.0, gt=0)

    diarizer: str = "embedded"
    """What tells speakers apart: ``embedded``, ``off``, or a folder or a repository of the Hugging Face hub with a
    Nemotron diarization model (extra ``gpu``)."""
    speaker_embedding: str = "embedded"
    """What speakers are recognized by: ``embedded``, ``resemblyzer``, ``off``, an ONNX file, or a folder or a
    repository of the hub with a model that embeds voices (extra ``gpu`` or ``torch``)."""
    speaker_threshold: float = Field(0.0, ge=0, lt=1)
    """Cosine from which on two voices are one person's; 0 for what was measured with the model."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the environment; ``overrides`` that are not None win.

        Raises:
            SettingsError: naming the setting and what it takes.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {
            name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)
        }
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise SettingsError(f"unknown setting {name} ({PREFIX}{name.upper()})") from None
            own = first.get("ctx", {}).get("error")  # what a check of ours has said; else it is pydantic's wording
            text = own or first["msg"].replace("Input should be", "it has to be").partition(", unable to parse")[0]
            raise SettingsError(f"setting {name}: {text}, got {first['input']!r}") from None

    def environment(self) -> dict[str, str]:
        """These settings as variables, for a process that shall have the same."""
        values = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value is not None:
                values[PREFIX + name.upper()] = ",".join(value) if isinstance(value, tuple) else str(value)
        return values

    @property
    def engine(self) -> EngineSettings:
        # A caller may send several channels, and each is a stream of its own. Jobs are worked on in two queues.
        files = 2 * self.max_jobs * FILE_STREAMS
        return EngineSettings(
            max_streams=2 * self.max_sessions + 8 + files,
            max_backlog_sec=self.max_backlog,
            step_timeout=self.step_timeout,
        )

    def segmenter_for(self, model: RecognizerInfo) -> SegmenterSettings:
        """How speech is cut for this model. A streaming one goes on across a forced cut, so the place matters little,
        and audio that may still be cut off must wait: so the cut is looked for in less of it."""
        return SegmenterSettings(cut_window=STREAMING_CUT) if model.kind == "streaming" else SegmenterSettings()

    def file_segmenter_for(self, model: RecognizerInfo) -> SegmenterSettings:
        """How the speech of a file is cut. Nobody waits for its end, so that what is left out is silence: less of it
        around the speech made fewer errors, see docs/decisions/008-jobs.md."""
        live = self.segmenter_for(model)
        return live if model.kind == "streaming" else replace(live, pre_roll=FILE_MARGIN, padding=FILE_MARGIN)

    @property
    def recognizer(self) -> RecognizerSettings:
        return RecognizerSettings(
            device=self.device,
            max_streams=self.engine.max_streams,
            moonshine=MoonshineSettings(threads=self.threads or min(4, _cores())),
            fastconformer=FastConformerSettings(
                graph_bytes=self.graph_memory,
                keyterms=KeytermSettings(bonus=self.keyterm_bonus),
                languages=self.model_languages or ("en",),
            ),
            transformers=TransformersSettings(languages=self.model_languages),
        )
