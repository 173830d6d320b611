"""Waiting for jobs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection

from stream_server.jobs.job import JobState, Progress, Urgency
from stream_server.jobs.result import JobResult
from stream_server.jobs.store import JobStore, Standing
from stream_server.jobs.watch import Watch
from tests.jobs.conftest import TRANSCRIPT, Desk


async def test_who_waits_is_told_of_every_change_and_of_the_end(desk: Desk) -> None:
    watch = Watch(desk.store)
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    standing = await watch.change(job.id, None)
    assert standing is not None
    assert standing.state is JobState.QUEUED
    waiting = [asyncio.create_task(watch.change(job.id, standing)) for _ in range(3)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in waiting), "nothing has changed"
    mine = desk.ledger.begin(job.id)
    assert mine is not None
    begun = await asyncio.gather(*waiting)
    assert {standing.state for standing in begun if standing} == {JobState.PROCESSING}
    progress = Progress(20, "transcription", "A fifth of it")
    desk.ledger.report(mine, progress)
    reported = await watch.change(job.id, begun[0])
    assert reported is not None
    assert reported.progress == progress
    desk.ledger.complete(mine, JobResult(TRANSCRIPT))
    done = await watch.change(job.id, reported)
    assert done is not None
    assert done.is_finished
    desk.store.delete(job)
    assert await watch.change(job.id, done) is None


async def test_who_stops_waiting_leaves_nothing_behind(desk: Desk) -> None:
    watch = Watch(desk.store)
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    standing = await watch.change(job.id, None)
    task = asyncio.create_task(watch.change(job.id, standing))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    while watch._asking is not None:
        await asyncio.sleep(0.01)
    assert not watch._wanted
    assert (await watch.change(job.id, None)) == standing, "and who comes later is served"


class SlowStore:
    """Answers when it is let to; what it was asked is noted."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.gate = threading.Event()
        self.asked: list[set[str]] = []

    def standings(self, wanted: Collection[str]) -> dict[str, Standing]:
        self.asked.append(set(wanted))
        found = self._store.standings(wanted)
        assert self.gate.wait(10)
        self.gate.clear()
        return found


async def test_an_answer_that_was_under_way_says_nothing_of_who_joins_later(desk: Desk) -> None:
    first, second = desk.job(), desk.job()
    desk.store.add([first, second], Urgency.QUEUED)
    slow = SlowStore(desk.store)
    watch = Watch(slow)  # type: ignore[arg-type]
    one = asyncio.create_task(watch.change(first.id, None))
    while slow.asked != [{first.id}]:
        await asyncio.sleep(0.01)
    known = desk.store.standings([second.id])[second.id]
    other = asyncio.create_task(watch.change(second.id, known))
    await asyncio.sleep(0.01)
    slow.gate.set()
    assert (await one) is not None
    while len(slow.asked) < 2:
        await asyncio.sleep(0.01)
    assert not other.done(), "it was not asked for, so it is not gone"
    desk.store.delete(second)
    slow.gate.set()
    while not other.done():
        slow.gate.set()
        await asyncio.sleep(0.01)
    assert other.result() is None
