"""Which work goes into the next step: jobs in, batches out."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.recognizer import Kind
from stream_server.engine.scheduler import SOON, Job, Scheduler
from stream_server.engine.work import Priority

LIVE, BATCH = Priority.LIVE, Priority.BATCH
FINAL, STEP, PREVIEW, PARTIAL = Kind.FINAL, Kind.STEP, Kind.PREVIEW, Kind.PARTIAL


def job(
    stream: str,
    kind: Kind = STEP,
    deadline: float = 1.0,
    *,
    priority: Priority = LIVE,
    end: int = 100,
    expires: float = math.inf,
    chunk: int = 0,
) -> Job:
    return Job(stream, kind, 0, 0, end, deadline, priority, expires, chunk)


def scheduler(*jobs: Job, max_jobs: int = 8, max_samples: int = 10_000) -> Scheduler:
    made = Scheduler(max_jobs=max_jobs, max_samples=max_samples)
    for each in jobs:
        made.add(each, 0.0)
    return made


def run(made: Scheduler, now: float = 0.0) -> list[list[Job]]:
    """Every batch until there is no more work, each completed before the next."""
    batches = []
    while batch := made.schedule(now):
        batches.append(batch)
        for done in batch:
            made.complete(done.stream)
    return batches


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (job("a", PARTIAL, 9), job("b", FINAL, 1, priority=BATCH)),
        (job("a", FINAL, 9), job("b", STEP, 1)),
        (job("a", PREVIEW, 9), job("b", STEP, 1)),
        (job("a", STEP, 9), job("b", PARTIAL, 1)),
    ],
    ids=["live before batch", "finals before steps", "previews before steps", "steps before partials"],
)
def test_class_comes_before_deadline(first: Job, second: Job) -> None:
    assert run(scheduler(second, first)) == [[first], [second]]
    assert run(scheduler(first, second)) == [[first], [second]]


def test_the_oldest_deadline_goes_first() -> None:
    jobs = {deadline: job(f"s{deadline}", deadline=deadline) for deadline in (3, 1, 2)}
    assert run(scheduler(*jobs.values())) == [[jobs[1], jobs[2], jobs[3]]]


def test_jobs_of_a_stream_keep_their_order_and_one_runs_at_a_time() -> None:
    late, early = job("a", STEP, 9), job("a", STEP, 1)
    made = scheduler(late, early)
    assert made.schedule(0) == [late]
    assert made.schedule(0) == []
    assert not made.has_work
    assert made.waiting == 1
    made.complete("a")
    assert made.schedule(0) == [early]


def test_what_stands_before_a_final_is_as_urgent_as_the_final() -> None:
    step, final, other = job("a", STEP, 9), job("a", FINAL, 10), job("b", STEP, 1)
    assert run(scheduler(step, final, other)) == [[step], [final], [other]]


def test_a_batch_stream_does_not_inherit_live() -> None:
    live, batch = job("a", PARTIAL, 9), job("b", FINAL, 0, priority=BATCH)
    assert run(scheduler(batch, live)) == [[live], [batch]]


def test_chunks_share_a_batch_by_their_length_whatever_their_class() -> None:
    long_step, step, final, other = (
        job("a", STEP, 3, chunk=560),
        job("b", STEP, 1, chunk=80),
        job("c", FINAL, 2, chunk=80, priority=BATCH),
        job("d", FINAL, 4, chunk=560),
    )
    assert run(scheduler(long_step, step, final, other)) == [[step, final], [long_step, other]]


def test_callers_of_one_chunk_length_do_not_starve_those_of_another() -> None:
    """Finals of the many come all the time; the deadline of the few still counts."""
    made = scheduler(*(job(f"many-{n}", FINAL if n % 2 else STEP, 1.0 + n / 100, chunk=1120) for n in range(40)))
    made.add(job("few", STEP, 1.05, chunk=80), 0.0)
    batches = run(made)
    assert ["few"] in [[each.stream for each in batch] for batch in batches[:2]]


def test_a_chunk_that_is_taken_late_is_a_sign_of_overload() -> None:
    made = Scheduler(max_jobs=8, max_samples=10_000)
    for stream, overdue in (("a", 2.0), ("b", 4.0)):
        made.add(replace(job(stream, chunk=80), overdue=overdue), 0.0)
    assert len(made.schedule(3.0)) == 2
    assert made.take_thinned() == ["a"]
    assert made.late == 1


def test_a_batch_is_bounded_in_jobs() -> None:
    jobs = [job(f"s{number}", deadline=number) for number in range(5)]
    assert run(scheduler(*jobs, max_jobs=2)) == [jobs[:2], jobs[2:4], jobs[4:]]


def test_a_batch_is_bounded_in_audio_without_passing_over_the_older() -> None:
    long, longer, short = job("a", deadline=1, end=60), job("b", deadline=2, end=80), job("c", deadline=3, end=10)
    assert run(scheduler(short, longer, long, max_samples=100)) == [[long], [longer, short]]


def test_a_job_longer_than_a_batch_may_be_runs_alone() -> None:
    huge, small = job("a", deadline=1, end=500), job("b", deadline=2, end=10)
    assert run(scheduler(huge, small, max_samples=100)) == [[huge], [small]]


@pytest.mark.parametrize("newer", list(Kind))
def test_a_waiting_partial_gives_way_to_anything_newer(newer: Kind) -> None:
    made = scheduler(job("a", PARTIAL), latest := job("a", newer), other := job("b", PARTIAL))
    assert made.coalesced == 1
    ran = [each for batch in run(made) for each in batch]
    assert len(ran) == 2
    assert latest in ran
    assert other in ran


def test_a_partial_that_runs_already_is_not_taken_back() -> None:
    made = scheduler(first := job("a", PARTIAL))
    assert made.schedule(0) == [first]
    made.add(second := job("a", PARTIAL), 0.0)
    assert made.coalesced == 0
    made.complete("a")
    assert made.schedule(0) == [second]


def test_nothing_but_a_partial_is_coalesced() -> None:
    jobs = [job("a", kind) for kind in (STEP, STEP, PREVIEW, PREVIEW, FINAL, STEP)]
    made = scheduler(*jobs)
    assert [each for batch in run(made) for each in batch] == jobs
    assert made.coalesced == 0


def test_a_job_that_has_waited_too_long_is_given_up() -> None:
    step, final = job("a", STEP, expires=5.0), job("a", FINAL)
    made = scheduler(step, final)
    assert made.schedule(5.0) == [final]
    assert made.expired == 1
    assert made.take_thinned() == ["a"]
    assert made.take_thinned() == []


def test_a_late_step_gives_way_to_anything_newer() -> None:
    """What is shown late is not worth showing, and a final should not have to wait for it."""
    late, early = job("a", STEP, 1.0, expires=9.0), job("a", STEP, 3.0, expires=9.0)
    made = scheduler(late, early)
    made.add(final := job("a", FINAL, 2.1), 2.0)
    assert [each for batch in run(made, 2.0) for each in batch] == [early, final]
    assert made.expired == 1


def test_a_late_step_that_may_not_be_given_up_stays() -> None:
    made = scheduler(chunk := job("a", STEP, 1.0))
    made.add(final := job("a", FINAL, 2.1), 2.0)
    assert [each for batch in run(made, 2.0) for each in batch] == [chunk, final]


def test_a_stream_that_lost_its_only_job_is_forgotten() -> None:
    made = scheduler(job("a", STEP, expires=1.0))
    assert made.schedule(2.0) == []
    assert not made.has_work
    assert made.waiting == 0
    made.add(again := job("a", STEP), 2.0)
    assert made.schedule(3.0) == [again]


def test_a_cancelled_stream_is_forgotten_while_queued_and_while_running() -> None:
    made = scheduler(job("a", STEP), job("a", FINAL), survivor := job("b", PARTIAL))
    running = made.schedule(0)
    assert made.cancel("a") == 1
    made.complete(running[0].stream)  # the result of what ran comes all the same
    assert made.schedule(0) == [survivor]
    assert made.cancel("b") == 0
    assert made.cancel("unknown") == 0
    assert made.waiting == 0


streams = st.sampled_from("abcd")
jobs = st.builds(
    job,
    streams,
    st.sampled_from(list(Kind)),
    st.floats(0, 10),
    priority=st.just(LIVE),
    end=st.integers(1, 150),
    expires=st.floats(0, 30) | st.just(math.inf),
)
moves = jobs | st.tuples(st.just("schedule"), streams) | st.tuples(st.just("cancel"), streams)


@given(st.lists(moves, max_size=60))
def test_whatever_comes(sequence: list[Job | tuple[str, str]]) -> None:
    """One class per batch, bounds kept, one job of a stream at a time, in order; finals and endless steps all run."""
    made = Scheduler(max_jobs=3, max_samples=200)
    due: dict[str, deque[Job]] = {}
    for now, move in enumerate(sequence):
        if isinstance(move, Job):
            made.add(move, now)
            due.setdefault(str(move.stream), deque()).append(move)
        elif move[0] == "cancel":
            made.cancel(move[1])
            due.pop(move[1], None)
        else:
            _check_batch(made.schedule(now), due, made)
    while batch := made.schedule(1e9):
        _check_batch(batch, due, made)
    assert made.waiting == 0
    assert not made.has_work
    assert not [each for queue in due.values() for each in queue if not _may_be_dropped(each)]


def _may_be_dropped(job: Job) -> bool:
    return job.kind is PARTIAL or job.expires < math.inf


def _check_batch(batch: list[Job], due: dict[str, deque[Job]], made: Scheduler) -> None:
    names = [str(each.stream) for each in batch]
    assert len(set(names)) == len(names) <= 3
    assert len(batch) <= 1 or sum(each.samples for each in batch) <= 200
    for each in batch:
        queue = due[str(each.stream)]
        while (head := queue.popleft()) is not each:  # what was passed over had to be droppable
            assert _may_be_dropped(head)
        made.complete(each.stream)


# -- turns: what is only shown ---------------------------------------------------------------------------------------


def test_who_was_shown_something_longest_ago_comes_first() -> None:
    """Though what he waits for is due later than what another one asks for again."""
    made = scheduler(job("a", PARTIAL, 0.3), job("b", PARTIAL, 0.4), max_jobs=1)
    assert [batch[0].stream for batch in run(made, 0.3)] == ["a", "b"]
    made.add(job("a", PARTIAL, 0.5), 1.0)
    made.add(again := job("b", PARTIAL, 0.6), 1.0)
    assert made.schedule(1.0)[0].stream == "a"
    made.complete("a")
    made.add(job("a", PARTIAL, 0.55), 1.1)
    assert made.schedule(1.1) == [again]


def test_a_fast_sender_does_not_take_part_in_the_turns() -> None:
    """What it asks for is due later, however long ago it was shown something."""
    made = scheduler(job("now", STEP, 1.0), max_jobs=1)
    run(made, 1.0)
    made.add(job("fast", STEP, 60.0), 1.1)
    made.add(again := job("now", STEP, 1.5), 1.1)
    assert made.schedule(1.1) == [again]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), min_size=1, max_size=200), st.integers(1, 4))
def test_no_stream_that_waits_sees_another_served_twice(moves: list[tuple[str, bool]], max_jobs: int) -> None:
    """Whoever asks how often, and replaces what: a stream waits for one turn of the others at most."""
    made = Scheduler(max_jobs=max_jobs, max_samples=10_000)
    served_since: dict[str, set[str]] = {}  # of each that waits, who was served since it began to
    for at, (stream, then_schedule) in enumerate(moves):
        now = 0.01 * at
        made.add(job(stream, PARTIAL, now + SOON), now)
        served_since.setdefault(stream, set())
        if not then_schedule:
            continue
        batch = [str(each.stream) for each in made.schedule(now)]
        for served in batch:
            served_since.pop(served, None)
            made.complete(served)
        for seen in served_since.values():
            assert not seen & set(batch)
            seen.update(batch)


def test_a_stream_that_waits_in_vain_for_what_is_due_is_thinned() -> None:
    made = scheduler(job("a", PARTIAL, 0.5))
    for at in (1.0, 1.5):
        made.add(job("a", PARTIAL, at), at)
        assert made.take_thinned() == []
    made.add(job("a", PARTIAL, 2.0), 2.0)
    assert made.take_thinned() == ["a"]
    made.add(job("a", PARTIAL, 2.5), 2.5)
    assert made.take_thinned() == [], "it is not said again at once"


def test_a_partial_that_gives_way_before_it_is_due_is_no_sign_of_overload() -> None:
    made = scheduler()
    for at in range(10):
        made.add(job("a", PARTIAL, at + 2.0), at)
    assert made.coalesced == 9
    assert made.take_thinned() == []


# -- owners: what callers must have ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "chunk"), [(FINAL, 0), (PREVIEW, 0), (STEP, 80)])
def test_an_owner_of_many_streams_makes_his_own_wait(kind: Kind, chunk: int) -> None:
    many = [replace(job(f"many-{n}", kind, 1.0 + n, chunk=chunk), owner="many") for n in range(6)]
    few = [replace(job(f"few-{n}", kind, 50.0 + n, chunk=chunk), owner="few") for n in range(2)]
    batches = run(scheduler(*many, *few, max_jobs=4))
    assert batches == [[many[0], few[0], many[1], few[1]], many[2:]]


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.floats(0, 10)), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_a_batch_is_shared_out_evenly_among_owners(waiting: list[tuple[str, float]], max_jobs: int) -> None:
    """Who is left waiting has no fewer in the batch than anybody else, give or take one."""
    finals = [replace(job(f"s{n}", FINAL, deadline), owner=owner) for n, (owner, deadline) in enumerate(waiting)]
    batch = scheduler(*finals, max_jobs=max_jobs).schedule(0.0)
    assert len(batch) == min(max_jobs, len(finals))
    taken = Counter(each.owner for each in batch)
    for left in {each.owner for each in finals if each not in batch}:
        assert taken[left] >= max(taken.values()) - 1
        own = sorted(each.deadline for each in finals if each.owner == left)
        assert sorted(each.deadline for each in batch if each.owner == left) == own[: taken[left]]


def test_how_long_the_oldest_of_each_kind_has_been_due() -> None:
    made = scheduler(
        job("a", FINAL, 1.0), job("b", FINAL, 3.0), job("c", STEP, 9.0), job("d", STEP, 0.0, priority=BATCH)
    )
    assert made.overdue(4.0) == {FINAL: 3.0, PREVIEW: 0.0, STEP: 0.0, PARTIAL: 0.0}
    assert made.overdue(10.0)[STEP] == 1.0, "work on files may wait"
    made.schedule(10.0)
    assert made.overdue(10.0)[FINAL] == 0.0, "what is being run waits no more"
