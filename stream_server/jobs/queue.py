"""The work that is to be done, in DBOS's queues: enqueued with the rows it belongs to, taken over from the dead.

It knows ids and priorities. How a job is done is known by `store`, `ledger` and `worker`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from dbos import DBOSClient, EnqueueOptions

from stream_server.jobs.job import Job

NAME: Final = "stream-server"
JOBS: Final = "jobs"
"""Workflow of transcriptions, and the queue of those that nobody waits for."""
ANSWERS: Final = "answers"
"""Queue of transcriptions whose callers wait: hours of recordings in the other one do not hold them up."""
DOWNLOADS: Final = "downloads"
"""Queue of what has to be fetched first: an address that is slow takes no place of those that recognize."""
TEXTS: Final = "texts"
"""Queue of what is to be made of transcripts, which may have to wait for an endpoint."""
CALLBACKS: Final = "callbacks"
"""Queue and workflow of callbacks, one workflow for each try."""
VERSION: Final = "1"
"""Of the workflows, not of the program: a worker takes over what another version of the program has left."""

_UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]
_FINISHED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_MOST = 500


class WorkQueue:
    """A client of the queues; needs no worker in this process."""

    def __init__(self, engine: sa.Engine) -> None:
        self._client = DBOSClient(system_database_engine=engine, application_name=NAME)

    def close(self) -> None:
        self._client.destroy()

    def enqueue(
        self, connection: sa.Connection, job: Job, queue: str, *, attempt: int, priority: int, anew: bool = False
    ) -> None:
        """Have a worker go on with the job; it becomes true when the transaction does.

        ``attempt``: how often it has been begun. ``anew``: whatever was said before.
        """
        options: EnqueueOptions = {
            "workflow_name": JOBS,
            "queue_name": queue,
            "workflow_id": _id(job.id, attempt, anew),
            "app_version": VERSION,
            "priority": priority,
        }
        if queue == DOWNLOADS:  # shared out among callers, as addresses can be slow on purpose
            options["queue_partition_key"] = job.key or "-"
        self._client.enqueue_in_transaction(connection, options, job.id, queue)

    def enqueue_delivery(
        self, connection: sa.Connection, delivery: str, *, attempt: int, delay: float = 0.0, anew: bool = False
    ) -> None:
        """Have a worker try a callback, ``delay`` seconds from now; saying it twice is saying it once."""
        options: EnqueueOptions = {
            "workflow_name": CALLBACKS,
            "queue_name": CALLBACKS,
            "workflow_id": _id(delivery, attempt, anew),
            "app_version": VERSION,
        }
        if delay > 0:
            options["delay_seconds"] = delay
        self._client.enqueue_in_transaction(connection, options, delivery, attempt)

    def take_over(self, alive: Collection[str]) -> list[str]:
        """Put back into the queues what processes that are not alive had begun; the ids of the workflows."""
        begun = self._client.list_workflows(status="PENDING", load_input=False, load_output=False)
        left = [(work.workflow_id, work.queue_name) for work in begun if work.executor_id not in alive]
        for workflow, queue in left:
            self._client.resume_workflow(workflow, queue_name=queue)
        return [workflow for workflow, _ in left]

    def unfinished(self) -> set[str]:
        """The jobs and callbacks for which there is work in the queues, or in hand."""
        found = self._client.list_workflows(status=_UNFINISHED, load_input=False, load_output=False)
        return {work.workflow_id.partition(":")[0] for work in found}

    def withdraw(self, job: str, attempts: int) -> None:
        """Take the work for a job that is gone out of the queue; it has been begun ``attempts`` times."""
        self._client.delete_workflows([f"{job}:{attempts}"])

    def forget(self, before: float) -> int:
        """Delete the records of work that was over before then (seconds since the epoch)."""
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before))
        over = self._client.list_workflows(
            status=_FINISHED, end_time=end, limit=_MOST, load_input=False, load_output=False
        )
        if over:
            self._client.delete_workflows([work.workflow_id for work in over])
        return len(over)


def _id(subject: str, attempt: int, anew: bool) -> str:
    """One id for one attempt, so that it is not made twice."""
    return f"{subject}:{attempt}:{uuid.uuid4().hex}" if anew else f"{subject}:{attempt}"
