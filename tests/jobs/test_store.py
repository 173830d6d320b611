"""Jobs as callers see them, and as workers change them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import sqlalchemy as sa

from stream_server.jobs.database import writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Failure, Job, JobState, Progress, Source, Urgency
from stream_server.jobs.ledger import SupersededError
from stream_server.jobs.queue import ANSWERS, DOWNLOADS, JOBS, TEXTS
from stream_server.jobs.record import progress_to, to_row
from stream_server.jobs.result import Findings, JobResult, decode_result, encode_result
from stream_server.jobs.table import jobs, objects, usage
from tests.jobs.conftest import TRANSCRIPT, Desk

RESULT = JobResult(TRANSCRIPT)
HALF = Progress(50, "transcription", "Half of it", 3)


def begun(desk: Desk, job: Job) -> Job:
    found = desk.ledger.begin(job.id)
    assert found is not None
    return found


def state(desk: Desk, job: Job) -> JobState:
    found = desk.store.get(job.id)
    assert found is not None
    return found.state


def reason(caught: pytest.ExceptionInfo[JobError]) -> Reason:
    return caught.value.reason


def waiting_work(desk: Desk, queue: str = DOWNLOADS) -> list[str]:
    """What a worker would take, in its order."""
    found = desk.queue._client.list_workflows(status="ENQUEUED", queue_name=queue)
    return [str(work.workflow_id) for work in sorted(found, key=lambda work: (work.priority or 0, work.created_at))]


def test_a_job_is_what_was_asked_for(desk: Desk) -> None:
    job = desk.job("key", callback_url="https://example.com/hook")
    desk.store.add([job], Urgency.QUEUED)
    assert desk.store.get(job.id) == job
    assert desk.store.get("00000000-0000-0000-0000-000000000000") is None
    assert waiting_work(desk) == [f"{job.id}:0"]


def test_a_row_is_a_job_again(desk: Desk) -> None:
    job = replace(
        desk.job("key"),
        progress=HALF,
        failure=Failure(Reason.URL_FAILED, "the address answers 404"),
        options=desk.job().options.model_copy(update={"translate_to": ("de", "fr"), "mask": ()}),
    )
    row = to_row(job, waiter=None) | {
        "progress": progress_to(HALF),
        "failure": '{"reason":"URL_FAILED","message":"the address answers 404"}',
    }
    with writing(desk.database) as connection:
        connection.execute(jobs.insert().values(row))
    assert desk.store.get(job.id) == job


def test_a_result_is_kept_whole() -> None:
    result = JobResult(TRANSCRIPT, {"de": TRANSCRIPT}, Findings(summary="Times.", sentiment={"label": "neutral"}))
    assert decode_result(encode_result(result)) == result


def test_a_job_goes_its_way(desk: Desk) -> None:
    job = desk.job("key")
    desk.store.add([job], Urgency.QUEUED)
    mine = begun(desk, job)
    assert (mine.state, mine.attempt) == (JobState.PROCESSING, 1)
    desk.ledger.report(mine, HALF, TRANSCRIPT.segments[:1], 0)
    desk.ledger.report(mine, HALF, TRANSCRIPT.segments[1:], 1)
    assert desk.store.segments(job.id, 0) == list(TRANSCRIPT.segments)
    assert desk.store.segments(job.id, 1) == list(TRANSCRIPT.segments[1:])
    assert desk.store.standings([job.id])[job.id].progress == HALF
    assert desk.store.results([job.id]) == {}, "there is no result before the end"
    desk.ledger.complete(mine, RESULT)
    done = desk.store.get(job.id)
    assert done is not None
    assert done.state is JobState.COMPLETED
    assert done.progress is not None
    assert done.progress.percent == 100
    assert done.processing_sec is not None
    assert done.failure is None
    assert desk.store.results([job.id]) == {job.id: RESULT}
    with desk.database.connect() as connection:
        assert connection.scalar(sa.select(usage.c.file_seconds).where(usage.c.api_key == "key")) == 4.5
    assert desk.ledger.begin(job.id) is None, "what is done is not begun again"


def test_who_was_taken_for_dead_can_change_nothing(desk: Desk) -> None:
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    first, second = begun(desk, job), begun(desk, job)
    for word in (
        lambda: desk.ledger.report(first, HALF),
        lambda: desk.ledger.keep(first, RESULT),
        lambda: desk.ledger.complete(first, RESULT),
        lambda: desk.ledger.fail(first, Failure(Reason.INTERNAL, "broken")),
        lambda: desk.ledger.pass_on(first, None),
    ):
        with pytest.raises(SupersededError):
            word()
    assert state(desk, job) is JobState.PROCESSING
    desk.ledger.complete(second, RESULT)
    assert state(desk, job) is JobState.COMPLETED


def test_an_attempt_goes_on_behind_the_transcript_of_the_one_before(desk: Desk) -> None:
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    assert desk.ledger.kept(job.id) is None
    desk.ledger.keep(begun(desk, job), RESULT)
    assert desk.ledger.kept(begun(desk, job).id) == RESULT


def test_a_job_can_be_done_though_something_is_missing(desk: Desk) -> None:
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    failure = Failure(Reason.SERVICE_UNAVAILABLE, "translation to de: nobody answers")
    desk.ledger.complete(begun(desk, job), RESULT, failure)
    done = desk.store.get(job.id)
    assert done is not None
    assert (done.state, done.failure) == (JobState.COMPLETED, failure)
    assert desk.store.results([job.id]) == {job.id: RESULT}


def test_segments_of_an_attempt_that_was_given_up_are_forgotten(desk: Desk) -> None:
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    desk.ledger.report(begun(desk, job), HALF, TRANSCRIPT.segments, 0)
    again = begun(desk, job)
    assert desk.store.segments(job.id, 0) == []
    desk.ledger.report(again, HALF, TRANSCRIPT.segments, 0)
    assert len(desk.store.segments(job.id, 0)) == 2


def test_cancelling_ends_a_job_in_the_queue_and_in_hand(desk: Desk) -> None:
    queued, running = desk.job(), desk.job()
    desk.store.add([queued, running], Urgency.QUEUED)
    mine = begun(desk, running)
    for job in (queued, running):
        desk.store.cancel(job)
        assert state(desk, job) is JobState.CANCELLED
        with pytest.raises(JobError) as caught:
            desk.store.cancel(job)
        assert reason(caught) is Reason.CONFLICT
        assert desk.ledger.begin(job.id) is None
    with pytest.raises(SupersededError):
        desk.ledger.report(mine, HALF)


def test_a_job_goes_through_the_queues(desk: Desk) -> None:
    fetched, waited_for = desk.job(), desk.job("key")
    desk.store.add([fetched], Urgency.QUEUED)
    desk.store.add([waited_for], Urgency.WAITING, waiter="server")
    assert set(waiting_work(desk, DOWNLOADS)) == {f"{fetched.id}:0", f"{waited_for.id}:0"}
    for job, queue in ((fetched, JOBS), (waited_for, ANSWERS)):
        desk.ledger.pass_on(begun(desk, job), None)
        assert waiting_work(desk, queue) == [f"{job.id}:1"]
    desk.ledger.pass_on(begun(desk, fetched), TEXTS)
    assert waiting_work(desk, TEXTS) == [f"{fetched.id}:2"]
    assert state(desk, fetched) is JobState.PROCESSING


def test_one_job_does_not_wait_for_all_of_another_callers(desk: Desk) -> None:
    many = [desk.job("many") for _ in range(5)]
    desk.store.add(many, Urgency.QUEUED)
    one, file = desk.job("one"), desk.job("third")
    desk.store.add([one], Urgency.QUEUED)
    desk.store.add([file], Urgency.BATCH)
    work = waiting_work(desk)
    assert work.index(f"{one.id}:0") <= 2, "behind the first of the other caller, not behind the last"
    assert work[-1] == f"{file.id}:0"


def test_a_caller_has_so_many_unfinished_jobs_and_not_more(desk: Desk) -> None:
    desk.store.add([desk.job("key") for _ in range(49)], Urgency.QUEUED)
    with pytest.raises(JobError) as caught:
        desk.store.add([desk.job("key") for _ in range(2)], Urgency.QUEUED)
    assert reason(caught) is Reason.RATE_LIMITED
    assert caught.value.retry_after
    desk.store.add([desk.job("key")], Urgency.QUEUED)
    desk.store.add([desk.job("other")], Urgency.QUEUED)
    assert len(waiting_work(desk)) == 51, "what was refused left nothing behind"


def stored(desk: Desk, name: str, key: str) -> None:
    with writing(desk.database) as connection:
        connection.execute(
            objects.insert().values(
                name=name, state="stored", owner="p", api_key=key, size=9, format="wav", created_at=time.time()
            )
        )


def test_an_upload_belongs_to_one_job_of_its_owner(desk: Desk) -> None:
    stored(desk, "a" * 32, "mine")
    source = Source(object="a" * 32)
    for key, name in (("theirs", "a" * 32), ("mine", "b" * 32)):
        with pytest.raises(JobError) as caught:
            desk.store.add([replace(desk.job(key), source=Source(object=name))], Urgency.QUEUED)
        assert reason(caught) is Reason.NOT_FOUND
    job = replace(desk.job("mine"), source=source)
    desk.store.add([job], Urgency.QUEUED)
    assert desk.ledger.fetched(job.id) == "a" * 32
    with pytest.raises(JobError) as caught:
        desk.store.add([replace(desk.job("mine"), source=source)], Urgency.QUEUED)
    assert reason(caught) is Reason.NOT_FOUND
    assert desk.ledger.complete(begun(desk, job), RESULT) == ["a" * 32], "its audio goes when it is done"


def test_deleting_removes_what_there_was(desk: Desk) -> None:
    stored(desk, "a" * 32, "")
    job = replace(desk.job(), source=Source(object="a" * 32))
    desk.store.add([job], Urgency.QUEUED)
    mine = begun(desk, job)
    desk.ledger.report(mine, HALF, TRANSCRIPT.segments, 0)
    assert desk.store.delete(job) == ["a" * 32]
    assert desk.store.get(job.id) is None
    assert desk.store.segments(job.id, 0) == []
    with pytest.raises(SupersededError):
        desk.ledger.complete(mine, RESULT)
    assert desk.store.delete(job) == [], "deleting twice is no error"


def test_deleting_a_job_deletes_what_its_caller_was_to_be_told(desk: Desk) -> None:
    job = desk.job(callback_url="https://example.com/hook")
    desk.store.add([job], Urgency.QUEUED)
    desk.ledger.complete(begun(desk, job), RESULT)
    assert desk.store.delivery(job.id) is not None
    desk.store.delete(job)
    assert desk.store.delivery(job.id) is None


def test_deleting_a_waiting_job_takes_it_out_of_the_queue(desk: Desk) -> None:
    job, other = desk.job(), desk.job()
    desk.store.add([job, other], Urgency.QUEUED)
    desk.store.delete(job)
    assert waiting_work(desk) == [f"{other.id}:0"]


def test_pages_come_newest_first_and_hold_no_others_jobs(desk: Desk) -> None:
    mine = [replace(desk.job("key"), created_at=1000.0 + number // 2) for number in range(6)]
    desk.store.add(mine, Urgency.QUEUED)
    desk.store.add([desk.job("other")], Urgency.QUEUED)
    desk.store.add([desk.job("key")], Urgency.WAITING, waiter="server")
    expected = sorted(mine, key=lambda job: (job.created_at, job.id), reverse=True)
    seen: list[Job] = []
    after = None
    while page := desk.store.page("key", limit=2, state=None, after=after, surface=None):
        seen += page
        after = (page[-1].created_at, page[-1].id)
    assert seen == expected
    desk.store.cancel(expected[0])
    cancelled = desk.store.page("key", limit=9, state=JobState.CANCELLED, after=None, surface="lesan")
    assert [job.id for job in cancelled] == [expected[0].id]
    assert desk.store.page("key", limit=9, state=None, after=None, surface="openai") == []


def test_jobs_whose_server_is_gone_are_found(desk: Desk) -> None:
    lost, waited_for, kept = desk.job(), desk.job(), desk.job()
    desk.store.add([lost], Urgency.WAITING, waiter="dead")
    desk.store.add([waited_for], Urgency.WAITING, waiter="alive")
    desk.store.add([kept], Urgency.QUEUED)
    assert [job.id for job in desk.store.abandoned({"alive"}, 0.0)] == [lost.id]
    desk.ledger.complete(begun(desk, waited_for), RESULT)
    desk.ledger.complete(begun(desk, kept), RESULT)
    found = desk.store.abandoned({"alive", "dead"}, time.time() + 1)
    assert [job.id for job in found] == [waited_for.id], "an answer that nobody has fetched"


def test_unfinished_jobs_are_counted(desk: Desk) -> None:
    batch_of(desk, 3)
    job = desk.job()
    desk.store.add([job], Urgency.QUEUED)
    desk.ledger.complete(begun(desk, job), RESULT)
    begun(
        desk,
        desk.store.children(desk.store.page("", limit=1, state=JobState.QUEUED, after=None, surface=None)[0].id)[0],
    )
    assert desk.store.figures().unfinished == {JobState.QUEUED: 2, JobState.PROCESSING: 1}


def test_old_jobs_are_found(desk: Desk) -> None:
    old, unfinished = desk.job(), desk.job()
    desk.store.add([old, unfinished], Urgency.QUEUED)
    desk.ledger.complete(begun(desk, old), RESULT)
    assert [job.id for job in desk.store.expired(time.time() + 1, 10)] == [old.id]
    assert desk.store.expired(time.time() - 100, 10) == []


@pytest.mark.parametrize(("waiter", "queue"), [(None, JOBS), ("server", ANSWERS)])
def test_work_that_is_lost_is_made_anew_where_it_was(desk: Desk, waiter: str | None, queue: str) -> None:
    stored(desk, "a" * 32, "")
    job = replace(desk.job(), source=Source(object="a" * 32))
    desk.store.add([job], Urgency.QUEUED if waiter is None else Urgency.WAITING, waiter=waiter)
    desk.queue.withdraw(job.id, 0)
    assert waiting_work(desk, queue) == []
    assert desk.store.revive(time.time() + 1) == [job.id]
    (work,) = waiting_work(desk, queue)
    assert work.startswith(f"{job.id}:0:")
    assert desk.store.revive(time.time() + 1) == [], "there is work for it now"


# Batches


def batch_of(desk: Desk, count: int) -> tuple[Job, list[Job]]:
    batch = desk.batch()
    files = [replace(desk.job(parent=batch.id), position=number) for number in range(count)]
    desk.store.add([batch, *files], Urgency.BATCH)
    return batch, files


def test_a_batch_is_done_when_its_files_are_and_one_may_fail(desk: Desk) -> None:
    batch, files = batch_of(desk, 3)
    assert [job.id for job in desk.store.children(batch.id)] == [job.id for job in files]
    assert state(desk, batch) is JobState.QUEUED
    desk.ledger.fail(begun(desk, files[0]), Failure(Reason.URL_FAILED, "the address answers 404"))
    assert state(desk, batch) is JobState.PROCESSING
    desk.store.cancel(files[1])
    assert state(desk, batch) is JobState.PROCESSING
    desk.ledger.complete(begun(desk, files[2]), RESULT)
    assert state(desk, batch) is JobState.COMPLETED


def test_a_batch_of_which_nothing_came_has_failed(desk: Desk) -> None:
    batch, files = batch_of(desk, 2)
    for file in files:
        desk.ledger.fail(begun(desk, file), Failure(Reason.URL_FAILED, "the address answers 404"))
    found = desk.store.get(batch.id)
    assert found is not None
    assert found.state is JobState.FAILED
    assert found.failure is not None


def test_cancelling_a_batch_cancels_what_is_unfinished(desk: Desk) -> None:
    batch, files = batch_of(desk, 3)
    desk.ledger.complete(begun(desk, files[0]), RESULT)
    running = begun(desk, files[1])
    desk.store.cancel(batch)
    states = [job.state for job in desk.store.children(batch.id)]
    assert states == [JobState.COMPLETED, JobState.CANCELLED, JobState.CANCELLED]
    assert state(desk, batch) is JobState.CANCELLED
    with pytest.raises(SupersededError):
        desk.ledger.complete(running, RESULT)


def test_deleting_the_last_unfinished_file_ends_the_batch_and_deleting_it_removes_all(desk: Desk) -> None:
    batch, files = batch_of(desk, 2)
    desk.ledger.complete(begun(desk, files[0]), RESULT)
    desk.store.delete(files[1])
    assert state(desk, batch) is JobState.COMPLETED
    desk.store.delete(batch)
    assert desk.store.get(files[0].id) is None


def test_files_that_end_at_the_same_time_end_their_batch(desk: Desk) -> None:
    batch, files = batch_of(desk, 8)
    at_once = threading.Barrier(len(files))

    def finish(job: Job) -> None:
        mine = begun(desk, job)
        at_once.wait(30)
        desk.ledger.complete(mine, RESULT)

    threads = [threading.Thread(target=finish, args=(job,)) for job in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert state(desk, batch) is JobState.COMPLETED


def test_a_job_that_was_cancelled_while_it_ended_has_one_end(desk: Desk) -> None:
    for _ in range(10):
        job = desk.job()
        desk.store.add([job], Urgency.QUEUED)
        mine = begun(desk, job)
        ends: list[str] = []

        def cancel(job: Job = job, ends: list[str] = ends) -> None:
            try:
                desk.store.cancel(job)
                ends.append("cancelled")
            except JobError:
                pass

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            desk.ledger.complete(mine, RESULT)
            ends.append("completed")
        except SupersededError:
            pass
        thread.join(30)
        assert ends == [state(desk, job).value]
    with desk.database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(jobs)) == 10


def test_files_that_were_refused_have_failed_from_the_start(desk: Desk) -> None:
    batch, good = desk.batch(), desk.job()
    bad = replace(desk.job(), state=JobState.FAILED, failure=Failure(Reason.UNSUPPORTED_FORMAT, "no"), completed_at=1.0)
    files = [replace(bad, parent=batch.id), replace(good, parent=batch.id, position=1)]
    desk.store.add([batch, *files], Urgency.BATCH)
    assert [job.state for job in desk.store.children(batch.id)] == [JobState.FAILED, JobState.QUEUED]
    desk.ledger.complete(begun(desk, files[1]), RESULT)
    assert state(desk, batch) is JobState.COMPLETED
    hopeless = desk.batch()
    desk.store.add([hopeless, replace(bad, id=desk.job().id, parent=hopeless.id)], Urgency.BATCH)
    assert state(desk, hopeless) is JobState.FAILED


def test_deleting_and_ending_at_the_same_time_wait_for_each_other(desk: Desk) -> None:
    """In one order of rows: PostgreSQL would end one of the two otherwise."""
    for number in range(15):
        stored(desk, f"{number:032x}", "")
        job = replace(desk.job(), source=Source(object=f"{number:032x}"))
        desk.store.add([job], Urgency.QUEUED)
        mine = begun(desk, job)
        problems: list[BaseException] = []

        def delete(job: Job = job, problems: list[BaseException] = problems) -> None:
            try:
                desk.store.delete(job)
            except BaseException as error:
                problems.append(error)

        thread = threading.Thread(target=delete)
        thread.start()
        with suppress(SupersededError):
            desk.ledger.complete(mine, RESULT)
        thread.join(30)
        assert problems == []
