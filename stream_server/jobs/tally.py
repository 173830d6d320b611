"""How many jobs and callbacks have ended, and how: counted in the transaction that ends them, wherever the worker runs.

Rows of jobs are removed in time, or at once where a caller waited for the answer; these counts stay. It knows nothing
of who shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from stream_server.jobs.job import Job, JobState
from stream_server.jobs.process import count_workers
from stream_server.jobs.table import jobs, tallies

CallbackOutcome = Literal["delivered", "retried", "failed"]


@dataclass(frozen=True, slots=True)
class Tally:
    """So many of one kind from one surface ended in one way. Seconds are sums over all of them.

    ``outcome``: of jobs ``completed``, ``cancelled``, ``abandoned`` (removed unfinished), or why they failed; of
    callbacks, a `CallbackOutcome`.
    """

    kind: Literal["job", "callback"]
    surface: str
    outcome: str
    count: int
    wait_sec: float = 0.0
    work_sec: float = 0.0
    audio_sec: float = 0.0


@dataclass(frozen=True, slots=True)
class JobFigures:
    """How the jobs of a database stand, of all servers and workers that share it.

    ``oldest_sec``: the age of the oldest job that waits, 0.0 without one; ``workers``: how many are alive.
    """

    unfinished: Mapping[JobState, int] = field(default_factory=dict)
    oldest_sec: float = 0.0
    workers: int = 0
    tallies: Sequence[Tally] = ()


def count_job(connection: sa.Connection, job: Job) -> None:
    """A job has ended, as it says. Batches are not counted: their files are. The last thing in its transaction, so that
    no two wait for each other."""
    if job.kind == "batch":
        return
    outcome: str = job.failure.reason if job.state is JobState.FAILED and job.failure is not None else job.state
    began = job.created_at if job.started_at is None else job.started_at
    ended = began if job.completed_at is None else job.completed_at
    audio = job.duration_ms if job.state is JobState.COMPLETED else None
    add_tally(
        connection,
        Tally("job", job.surface, outcome, 1, max(0.0, began - job.created_at), ended - began, (audio or 0) / 1000),
    )


def count_callback(connection: sa.Connection, outcome: CallbackOutcome) -> None:
    """A callback was tried."""
    add_tally(connection, Tally("callback", "", outcome, 1))


def add_tally(connection: sa.Connection, tally: Tally) -> None:
    """Add to what has been counted before. Like all of these, the last thing in its transaction."""
    if not tally.count:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    amounts = {name: getattr(tally, name) for name in ("count", "wait_sec", "work_sec", "audio_sec")}
    row = insert(tallies).values(kind=tally.kind, surface=tally.surface, outcome=tally.outcome, **amounts)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=list(tallies.primary_key.columns),
            set_={name: tallies.c[name] + row.excluded[name] for name in amounts},
        )
    )


def read_figures(engine: sa.Engine, now: float) -> JobFigures:
    """How things stand at ``now``, in seconds since the epoch."""
    states = (JobState.QUEUED, JobState.PROCESSING)
    counted = (
        sa.select(jobs.c.state, sa.func.count().label("number"), sa.func.min(jobs.c.created_at).label("oldest"))
        .where(jobs.c.state.in_(states), jobs.c.kind != "batch")
        .group_by(jobs.c.state)
    )
    with engine.connect() as connection:
        found = {JobState(row.state): row for row in connection.execute(counted).all()}
        ended = [Tally(**row) for row in connection.execute(sa.select(tallies)).mappings()]
    waiting = found.get(JobState.QUEUED)
    return JobFigures(
        {state: found[state].number if state in found else 0 for state in states},
        0.0 if waiting is None else max(0.0, now - waiting.oldest),
        count_workers(engine),
        sorted(ended, key=lambda tally: (tally.kind, tally.surface, tally.outcome)),
    )
