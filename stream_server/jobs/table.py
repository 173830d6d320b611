"""The tables, for SQLite and PostgreSQL alike. Times are seconds since the epoch, from the clock of the writer.

DBOS keeps tables of its own in the same database, so that a job and the work for it are written in one transaction.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

SCHEMA_VERSION: Final = 3

metadata = sa.MetaData()

schema = sa.Table("stream_schema", metadata, sa.Column("version", sa.Integer, nullable=False))

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("api_key", sa.String(64), nullable=False),
    sa.Column("surface", sa.String(16), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("source", sa.Text),
    sa.Column("parent", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE")),
    sa.Column("position", sa.Integer, nullable=False, server_default="0"),
    sa.Column("files", sa.Integer, nullable=False, server_default="0"),
    sa.Column("callback_url", sa.Text),
    sa.Column("progress", sa.Text),
    sa.Column("failure", sa.Text),
    sa.Column("language", sa.String(35)),
    sa.Column("duration_ms", sa.BigInteger),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("waiter", sa.String(64)),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("started_at", sa.Float(53)),
    sa.Column("completed_at", sa.Float(53)),
    sa.Index("jobs_by_key", "api_key", "created_at", "id"),
    sa.Index("jobs_by_parent", "parent", "position"),
    sa.Index("jobs_by_state", "state", "api_key"),
    sa.Index("jobs_by_completion", "completed_at"),
    sa.Index("jobs_by_waiter", "waiter"),
)
"""``waiter``: the server process whose caller waits for the answer. The job goes when that is given, or cannot be."""

results = sa.Table(
    "job_results",
    metadata,
    sa.Column("job", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
"""The transcript as soon as it is there; translations and findings join it before the job is completed."""

segments = sa.Table(
    "job_segments",
    metadata,
    sa.Column("job", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
"""Segments as they come, for callers who read along; removed with the job."""

objects = sa.Table(
    "stored_objects",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("api_key", sa.String(64), nullable=False),
    sa.Column("job", sa.String(36)),
    sa.Column("size", sa.BigInteger),
    sa.Column("format", sa.String(16)),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("expires_at", sa.Float(53)),
    sa.Index("stored_objects_by_job", "job"),
    sa.Index("stored_objects_by_state", "state"),
)
"""Every object in the object store has a row here before its first byte is written, so that none can be forgotten:
``awaited`` (a signed address is out for it), ``receiving`` (by the process ``owner``), ``stored``, ``garbage``."""

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("job", sa.String(36), nullable=False, unique=True),
    sa.Column("api_key", sa.String(64), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    sa.Column("next_attempt_at", sa.Float(53)),
    sa.Column("created_at", sa.Float(53), nullable=False),
)
"""Callbacks, one to a job; the body is fixed when the job ends."""

processes = sa.Table(
    "processes",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("works", sa.Boolean, nullable=False),
    sa.Column("seen_at", sa.Float(53), nullable=False),
)
"""Who is alive: servers and workers, by their heartbeat. ``works``: it takes jobs from the queues."""

tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("surface", sa.String(16), primary_key=True),
    sa.Column("outcome", sa.String(32), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("wait_sec", sa.Float(53), nullable=False, server_default="0"),
    sa.Column("work_sec", sa.Float(53), nullable=False, server_default="0"),
    sa.Column("audio_sec", sa.Float(53), nullable=False, server_default="0"),
)
"""How many jobs and callbacks have ended, and how, since the database was made."""

keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("hint", sa.String(16), nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("concurrent_requests", sa.Integer),
    sa.Column("audio_hours_per_day", sa.Float(53)),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("revoked_at", sa.Float(53)),
)
"""API keys by their digest; the key itself is shown once and stored nowhere. Limits of None are the server's."""

usage = sa.Table(
    "key_usage",
    metadata,
    sa.Column("api_key", sa.String(64), primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("live_seconds", sa.Float(53), nullable=False, server_default="0"),
    sa.Column("file_seconds", sa.Float(53), nullable=False, server_default="0"),
)
"""What each key has used, by day (UTC, ISO 8601)."""

speakers = sa.Table(
    "speakers",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("api_key", sa.String(64), nullable=False),
    sa.Column("project", sa.String(200), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("registered_at", sa.Float(53), nullable=False),
    sa.UniqueConstraint("api_key", "project", "name", name="speakers_by_name"),
)
"""People whose voice is known by name, each to one API key and project. ``project`` is '' where none was named."""

speaker_samples = sa.Table(
    "speaker_samples",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("speaker", sa.String(36), sa.ForeignKey("speakers.id", ondelete="CASCADE"), nullable=False),
    sa.Column("embedder", sa.String(200), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Index("speaker_samples_by_speaker", "speaker", "embedder"),
)
"""What each of them sounds like: ``vector`` is of length 1, in little-endian float32, and means something to the model
``embedder`` only; ``seconds`` of speech went into it, which is kept nowhere."""
