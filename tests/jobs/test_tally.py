"""What has ended is counted once, and stays counted when its row is gone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from stream_protocol.transcript import Transcript
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Failure, JobState, Urgency, with_files
from stream_server.jobs.ledger import SupersededError
from stream_server.jobs.process import Heartbeat, new_process_id
from stream_server.jobs.result import JobResult
from stream_server.jobs.webhook import Deliverer
from stream_server.settings import Settings
from tests.jobs.conftest import TRANSCRIPT, Desk
from tests.support.receiver import running_receiver
from tests.support.site import HERE


def finished(desk: Desk) -> dict[str, int]:
    return {tally.outcome: tally.count for tally in desk.store.figures().tallies if tally.kind == "job"}


def test_every_end_is_counted(desk: Desk) -> None:
    made = [desk.job() for _ in range(4)]
    desk.store.add(made, Urgency.QUEUED)
    done = desk.ledger.begin(made[0].id)
    bad = desk.ledger.begin(made[1].id)
    assert done is not None
    assert bad is not None
    desk.ledger.complete(done, JobResult(TRANSCRIPT))
    desk.ledger.fail(bad, Failure(Reason.URL_FAILED, "gone"))
    desk.store.cancel(made[2])
    desk.store.delete(made[3])
    assert finished(desk) == {"completed": 1, "URL_FAILED": 1, "cancelled": 1, "abandoned": 1}
    for job in made[:3]:
        desk.store.delete(job)
    assert finished(desk) == {"completed": 1, "URL_FAILED": 1, "cancelled": 1, "abandoned": 1}


def test_sums_and_surfaces(desk: Desk) -> None:
    for surface, seconds in (("lesan", 4.5), ("openai", 2.0), ("openai", 3.0)):
        job = replace(desk.job(), surface=surface, created_at=time.time() - 60)
        desk.store.add([job], Urgency.QUEUED)
        begun = desk.ledger.begin(job.id)
        assert begun is not None
        desk.ledger.complete(begun, JobResult(Transcript((), "en", round(1000 * seconds))))
    first, second = desk.store.figures().tallies
    assert (first.surface, first.count, first.audio_sec) == ("lesan", 1, 4.5)
    assert (second.surface, second.count, second.audio_sec) == ("openai", 2, 5.0)
    assert 120 <= second.wait_sec < 180
    assert 0 <= second.work_sec < 60


def test_the_files_of_a_batch_count_and_it_does_not(desk: Desk) -> None:
    batch, files = with_files(desk.batch(), [desk.job().source] * 3, {1: Failure(Reason.UNSUPPORTED_FORMAT, "no")})  # type: ignore[list-item]
    desk.store.add([batch, *files], Urgency.BATCH)
    assert finished(desk) == {"UNSUPPORTED_FORMAT": 1}
    desk.store.cancel(batch)
    assert finished(desk) == {"UNSUPPORTED_FORMAT": 1, "cancelled": 2}
    desk.store.delete(batch)
    assert finished(desk) == {"UNSUPPORTED_FORMAT": 1, "cancelled": 2}


def test_a_worker_that_is_too_late_counts_nothing(desk: Desk) -> None:
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    begun = desk.ledger.begin(job.id)
    assert begun is not None
    desk.store.cancel(job)
    with pytest.raises(JobError):
        desk.store.cancel(job)
    with pytest.raises(SupersededError):
        desk.ledger.complete(begun, JobResult(TRANSCRIPT))
    assert finished(desk) == {"cancelled": 1}


def test_how_things_stand(desk: Desk) -> None:
    assert desk.store.figures().oldest_sec == 0.0
    assert desk.store.figures().workers == 0
    old, new, begun = (replace(desk.job(), created_at=time.time() - age) for age in (300, 3, 900))
    desk.store.add([old, new, begun], Urgency.QUEUED)
    desk.ledger.begin(begun.id)
    heart = Heartbeat(desk.database, new_process_id(), works=True)
    figures = desk.store.figures()
    heart.close()
    assert figures.unfinished == {JobState.QUEUED: 2, JobState.PROCESSING: 1}
    assert 300 <= figures.oldest_sec < 600
    assert figures.workers == 1


def test_every_try_of_a_callback_is_counted(desk: Desk, tmp_path: Path) -> None:
    settings = Settings.load({}, data_dir=tmp_path, allowed_hosts=",".join(HERE), secret="s")
    with running_receiver() as receiver:
        receiver.answer = lambda _: 200 if len(receiver.callbacks) > 1 else 500
        job = desk.job(callback_url=receiver.url)
        desk.store.add([job], Urgency.QUEUED)
        begun = desk.ledger.begin(job.id)
        assert begun is not None
        desk.ledger.complete(begun, JobResult(TRANSCRIPT))
        delivery = desk.store.delivery(job.id)
        assert delivery is not None
        deliverer = Deliverer(settings, desk.database)
        for number in range(3):  # the third has nothing to do
            deliverer.attempt(delivery.id, number)
    counts = {tally.outcome: tally.count for tally in desk.store.figures().tallies if tally.kind == "callback"}
    assert counts == {"retried": 1, "delivered": 1}
