"""What the routes share, in one place. Built by `stream_server.app`; holds no logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream_server.auth import KeyRing
from stream_server.engine.engine import Engine
from stream_server.jobs.service import Transcriptions
from stream_server.limits import SessionLimit
from stream_server.metrics import Metrics
from stream_server.quota import Quota
from stream_server.settings import Settings
from stream_server.token import Signer
from stream_server.transport.registry import Registry
from stream_server.transport.speaker import SpeakerDesk


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running server.

    ``vads``: detectors that sessions may choose, the default first. ``transcriptions``: None where jobs are off.
    ``speakers``: None there too. ``uploads``: signs the addresses of uploads. ``started_at``: seconds since the epoch.
    """

    settings: Settings
    engine: Engine
    registry: Registry
    limit: SessionLimit
    keys: KeyRing
    quota: Quota
    metrics: Metrics
    vads: Sequence[str]
    transcriptions: Transcriptions | None
    speakers: SpeakerDesk | None
    uploads: Signer
    started_at: int
