"""Who is alive, and what happens to the work of those who are not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from stream_server.jobs import process as module
from stream_server.jobs.database import writing
from stream_server.jobs.job import Urgency
from stream_server.jobs.process import Heartbeat, living, new_process_id
from stream_server.jobs.table import processes
from tests.jobs.conftest import Desk


def test_a_process_lives_until_it_says_goodbye(database: sa.Engine) -> None:
    heart = Heartbeat(database, new_process_id())
    assert living(database) == {heart.process}
    heart.close()
    assert living(database) == set()


def age(database: sa.Engine, process: str, seconds: float) -> None:
    with writing(database) as connection:
        aged = processes.update().where(processes.c.id == process).values(seen_at=processes.c.seen_at - seconds)
        connection.execute(aged)


def test_who_is_missed_is_dead_and_comes_back_with_a_beat(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heartbeat(database, new_process_id())
    age(database, heart.process, module.DEAD_SEC - module.BEAT_SEC)
    assert living(database) == {heart.process}
    age(database, heart.process, module.DEAD_SEC)
    assert living(database) == set()
    heart.close()
    monkeypatch.setattr(module, "BEAT_SEC", 0.01)
    slow = Heartbeat(database, new_process_id())
    age(database, slow.process, 2 * module.DEAD_SEC)
    living(database)
    while slow.process not in living(database):
        pass
    slow.close()


def test_a_process_of_this_machine_that_has_ended_is_dead_at_once(database: sa.Engine) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    heart = Heartbeat(database, new_process_id())
    with writing(database) as connection:
        connection.execute(processes.update().values(pid=gone.pid))
    assert living(database) == set()
    heart.close()


def test_a_number_on_another_machine_is_not_one_of_ours(database: sa.Engine) -> None:
    heart = Heartbeat(database, new_process_id())
    with writing(database) as connection:
        connection.execute(processes.update().values(pid=2**22 + os.getpid(), host="elsewhere"))
    assert living(database) == {heart.process}
    heart.close()


def test_work_of_the_dead_goes_back_into_the_queue_and_that_of_the_living_does_not(desk: Desk) -> None:
    mine, theirs, waiting = desk.job(), desk.job(), desk.job()
    desk.store.add([mine, theirs, waiting], Urgency.QUEUED)
    status = sa.table("workflow_status", sa.column("workflow_uuid"), sa.column("status"), sa.column("executor_id"))
    if desk.database.dialect.name == "postgresql":
        status.schema = "dbos"
    with writing(desk.database) as connection:
        for job, executor in ((mine, "alive"), (theirs, "dead")):
            begun = status.update().where(status.c.workflow_uuid == f"{job.id}:0")
            connection.execute(begun.values(status="PENDING", executor_id=executor))
    assert desk.queue.take_over({"alive"}) == [f"{theirs.id}:0"]
    with desk.database.connect() as connection:
        found = {row.workflow_uuid: row.status for row in connection.execute(sa.select(status))}
    assert found == {f"{mine.id}:0": "PENDING", f"{theirs.id}:0": "ENQUEUED", f"{waiting.id}:0": "ENQUEUED"}
    assert desk.queue.take_over({"alive"}) == []
