"""Every setting of the server, in one frozen object, from the environment and the command line.

Environment variables are the field names in capitals behind ``STREAM_SERVER_``, for instance
``STREAM_SERVER_MAX_SESSIONS=500``; lists are separated by commas. What the command line gives wins. An unknown name is
an error, so that a misspelt setting cannot pass unnoticed. Nothing else in the program reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

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


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it."""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


def _data_dir() -> Path:
    """The user's folder for such things; a folder here for a user who has no home, as in some containers."""
    try:
        return Path.home() / ".local" / "share" / "stream-server"
    except RuntimeError:
        return Path("stream-server-data")


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

    model: str = "moonshine-tiny"
    """A name that the command ``models`` lists, a folder with a checkpoint, or a repository of the Hugging Face hub."""
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

    api_keys: Names = ()
    api_key_file: Path | None = None
    """One key per line; empty lines and lines that begin with # are skipped."""

    max_sessions: int = Field(256, ge=1, le=100_000)
    max_sessions_per_key: int = Field(0, ge=0)
    """Sessions at once of one API key; 0 for no limit."""
    max_backlog: float = Field(60.0, gt=0)
    """Seconds of a caller's audio that may wait for finals before its socket is no longer read."""
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
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise SettingsError(f"unknown setting {name} ({PREFIX}{name.upper()})") from None
            raise SettingsError(f"setting {name}: {first['msg'].lower()}, got {first['input']!r}") from None

    @property
    def engine(self) -> EngineSettings:
        # A caller may send several channels, and each is a stream of its own.
        return EngineSettings(max_streams=2 * self.max_sessions + 8, max_backlog_sec=self.max_backlog)

    def segmenter_for(self, model: RecognizerInfo) -> SegmenterSettings:
        """How speech is cut for this model. A streaming one goes on across a forced cut, so the place matters little,
        and audio that may still be cut off must wait: so the cut is looked for in less of it."""
        return SegmenterSettings(cut_window=STREAMING_CUT) if model.kind == "streaming" else SegmenterSettings()

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
