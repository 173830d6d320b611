"""Who is alive, and what happens to the work of those who are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from stream_server.jobs import process as module
from stream_server.jobs.database import writing
from stream_server.jobs.job import Urgency
from stream_server.jobs.process import Heartbeat, has_worker, living, new_process_id
from stream_server.jobs.result import JobResult
from stream_server.jobs.table import processes
from tests.jobs.conftest import TRANSCRIPT, Desk


@pytest.fixture
def observer(database: sa.Engine) -> Iterator[str]:
    heart = Heartbeat(database, new_process_id(), works=False)
    yield heart.process
    heart.close()


def others(database: sa.Engine, observer: str) -> set[str]:
    alive = living(database, observer)
    assert alive is not None
    return alive - {observer}


def test_a_process_lives_until_it_says_goodbye(database: sa.Engine, observer: str) -> None:
    heart = Heartbeat(database, new_process_id(), works=False)
    assert others(database, observer) == {heart.process}
    heart.close()
    assert others(database, observer) == set()


def age(database: sa.Engine, process: str, seconds: float) -> None:
    with writing(database) as connection:
        aged = processes.update().where(processes.c.id == process).values(seen_at=processes.c.seen_at - seconds)
        connection.execute(aged)


def test_who_is_missed_is_dead_and_comes_back_with_a_beat(
    database: sa.Engine, observer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SEC", 3600.0)
    heart = Heartbeat(database, new_process_id(), works=False)
    age(database, heart.process, module.DEAD_SEC / 2)
    assert others(database, observer) == {heart.process}
    age(database, heart.process, module.DEAD_SEC)
    assert others(database, observer) == set()
    heart.close()
    monkeypatch.setattr(module, "BEAT_SEC", 0.01)
    slow = Heartbeat(database, new_process_id(), works=False)
    age(database, slow.process, 2 * module.DEAD_SEC)
    while slow.process not in others(database, observer):
        pass
    slow.close()


def test_who_is_late_itself_takes_nobody_for_dead(database: sa.Engine, observer: str) -> None:
    """The database was locked, or the machine slept: everybody is late."""
    with writing(database) as connection:
        connection.execute(processes.insert().values(id="other", host="elsewhere", pid=1, works=True, seen_at=0.0))
    age(database, observer, module.DEAD_SEC)
    assert living(database, observer) is None
    assert living(database, "nobody") is None
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(processes)) == 2


def test_a_process_of_this_machine_that_has_ended_is_dead_at_once(database: sa.Engine, observer: str) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    heart = Heartbeat(database, new_process_id(), works=False)
    with writing(database) as connection:
        connection.execute(processes.update().where(processes.c.id == heart.process).values(pid=gone.pid))
    assert others(database, observer) == set()
    heart.close()


def test_a_number_on_another_machine_is_not_one_of_ours(database: sa.Engine, observer: str) -> None:
    heart = Heartbeat(database, new_process_id(), works=False)
    with writing(database) as connection:
        moved = processes.update().where(processes.c.id == heart.process)
        connection.execute(moved.values(pid=2**22 + os.getpid(), host="elsewhere"))
    assert others(database, observer) == {heart.process}
    heart.close()


def test_whether_anybody_works(database: sa.Engine, observer: str) -> None:
    assert not has_worker(database), "a server that takes jobs is not enough"
    heart = Heartbeat(database, new_process_id(), works=True)
    assert has_worker(database)
    age(database, heart.process, 2 * module.DEAD_SEC)
    assert not has_worker(database)
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


def test_work_that_was_lost_is_made_again(desk: Desk) -> None:
    lost, waiting = desk.job(), desk.job()
    told = desk.job(callback_url="https://example.com/hook")
    desk.store.add([lost, waiting, told], Urgency.QUEUED)
    mine = desk.ledger.begin(told.id)
    assert mine is not None
    desk.ledger.complete(mine, JobResult(TRANSCRIPT))
    delivery = desk.store.delivery(told.id)
    assert delivery is not None
    assert desk.store.revive(time.time() + 1) == [], "there is work for all of them"
    desk.queue._client.delete_workflows([f"{lost.id}:0", f"{delivery.id}:0"])
    assert desk.store.revive(time.time() - 60) == [], "it may be on its way"
    assert sorted(desk.store.revive(time.time() + 1)) == sorted([lost.id, delivery.id])
    assert desk.queue.unfinished() >= {lost.id, delivery.id, waiting.id}
