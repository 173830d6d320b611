"""One stream's commands in, jobs out, for both kinds of recognizer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.planner import EARLY, STEP_PATIENCE, Planner
from stream_server.engine.recognizer import Kind
from stream_server.engine.scheduler import Job
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    Audio,
    CloseSegment,
    ConfigureStream,
    OpenSegment,
    PauseSegment,
    Priority,
    StreamOptions,
)
from tests.support.fake import FakeRecognizer

SEGMENT = FakeRecognizer().info
STREAMING = FakeRecognizer.streaming().info
STEP = SEGMENT.step_samples
CHUNK = STREAMING.step_samples
OPTIONS = StreamOptions("en", partial_samples=STEP)
FAR = 10**9


def ramp(start: int, end: int) -> Audio:
    """Audio whose samples say where they are."""
    return np.arange(start, end, dtype=np.float32)


def kinds(jobs: list[Job]) -> list[tuple[Kind, int, int]]:
    return [(job.kind, job.start, job.end) for job in jobs]


def feed(planner: Planner, start: int, end: int, piece: int, *, sure: int = FAR, now: float = 0.0) -> list[Job]:
    """Append the audio [start, end) in pieces."""
    jobs: list[Job] = []
    for begin in range(start, end, piece):
        jobs += planner.apply(AppendAudio(ramp(begin, min(end, begin + piece)), sure), now)
    return jobs


def opened(info=SEGMENT, options: StreamOptions = OPTIONS, *, start: int = 0, speech: int = 0) -> Planner:  # type: ignore[no-untyped-def]
    planner = Planner("stream", info, options, 0.0)
    assert planner.apply(OpenSegment(0, start, speech), 0.0) == []
    return planner


@pytest.mark.parametrize("piece", [1000, 1600, CHUNK, 5 * CHUNK, 100_000])
def test_streaming_takes_every_chunk_once_and_the_final_takes_the_rest(piece: int) -> None:
    planner = opened(STREAMING, start=700, speech=1500)
    end = 700 + 3 * CHUNK + 50
    jobs = feed(planner, 700, end, piece) + planner.apply(CloseSegment(end), 0.0)
    assert [job.kind for job in jobs] == [Kind.STEP] * 3 + [Kind.FINAL]
    assert [job.samples for job in jobs] == [CHUNK] * 3 + [50]
    assert np.array_equal(np.concatenate([planner.audio(job) for job in jobs]), ramp(700, end))


def test_streaming_takes_nothing_that_may_be_taken_back() -> None:
    planner = opened(STREAMING)
    jobs = feed(planner, 0, 5 * CHUNK, 1000, sure=2 * CHUNK + 1)
    assert kinds(jobs) == [(Kind.STEP, 0, CHUNK), (Kind.STEP, CHUNK, 2 * CHUNK)]
    (final,) = planner.apply(CloseSegment(2 * CHUNK + 1), 0.0)
    assert kinds([final]) == [(Kind.FINAL, 2 * CHUNK, 2 * CHUNK + 1)]


CHUNKS = (1280, 2560, 8960)
SIZED = replace(STREAMING, chunks=CHUNKS, lead_samples=1080)


@pytest.mark.parametrize(("asked", "chunk"), [(1, 1280), (1280, 1280), (2000, 2560), (8000, 8960), (80_000, 8960)])
@pytest.mark.parametrize("partial_samples", [8000, None])
def test_the_chunk_is_the_nearest_that_the_model_has_and_the_first_is_ready_sooner(
    asked: int, chunk: int, partial_samples: int | None
) -> None:
    planner = opened(SIZED, replace(OPTIONS, partial_samples=partial_samples, chunk_samples=asked), start=333)
    jobs = feed(planner, 333, 333 + 3 * chunk - 1080, 160)
    assert [(job.start - 333, job.end - 333) for job in jobs] == [
        (0, chunk - 1080),
        (chunk - 1080, 2 * chunk - 1080),
        (2 * chunk - 1080, 3 * chunk - 1080),
    ]
    assert {job.chunk for job in jobs} == {chunk}


def test_the_chunk_changes_with_the_next_segment_and_never_within_one() -> None:
    planner = opened(SIZED, replace(OPTIONS, chunk_samples=1280))
    jobs = feed(planner, 0, 1280, 160)
    assert planner.apply(ConfigureStream(replace(OPTIONS, chunk_samples=2560)), 0.0) == []
    jobs += feed(planner, 1280, 1480, 200) + planner.apply(CloseSegment(1480), 0.0)
    assert [(job.kind, job.chunk) for job in jobs] == [(Kind.STEP, 1280)] * 2 + [(Kind.FINAL, 1280)]
    planner.apply(OpenSegment(1, 1480, 1480, follows=True), 0.0)
    jobs = planner.apply(AppendAudio(ramp(0, 1480), FAR), 0.0)
    assert kinds(jobs) == [(Kind.STEP, 1480, 2960)]
    assert jobs[0].chunk == 2560
    assert planner.follows(jobs[0])


def test_what_a_streaming_model_has_heard_is_forgotten() -> None:
    """Thousands of callers who speak without a pause must not fill the memory."""
    planner = opened(SIZED, replace(OPTIONS, chunk_samples=1280), start=77)
    (segment,) = planner._segments.values()
    heard = []
    for second in range(60):
        for job in feed(planner, 77 + second * SAMPLE_RATE, 77 + (second + 1) * SAMPLE_RATE, 1600):
            heard.append(planner.audio(job).copy())
            planner.finished(job, has_text=True)
        assert len(segment.audio) <= 2 * SAMPLE_RATE
    (final,) = planner.apply(CloseSegment(77 + 60 * SAMPLE_RATE), 0.0)
    heard.append(planner.audio(final))
    assert np.array_equal(np.concatenate(heard), ramp(77, 77 + 60 * SAMPLE_RATE))


def test_much_at_once_after_a_long_silence_is_no_overload() -> None:
    planner = Planner("stream", SIZED, replace(OPTIONS, chunk_samples=1280), 0.0)
    planner.apply(OpenSegment(0, 0, 0), 60.0)
    jobs = feed(planner, 0, 10 * SAMPLE_RATE, SAMPLE_RATE, now=60.0)
    assert jobs[-1].overdue > 60.0 + 9 + STEP_PATIENCE
    assert jobs[-1].deadline < 61.0, "but it is still served before those who come later"


def test_what_becomes_sure_at_the_end_is_stepped_before_the_final() -> None:
    """A final takes less than a chunk: that is what the model has room for."""
    planner = opened(SIZED, replace(OPTIONS, chunk_samples=1280))
    assert feed(planner, 0, 5000, 1000, sure=100) == []
    jobs = planner.apply(CloseSegment(4500), 0.0)
    assert kinds(jobs) == [
        (Kind.STEP, 0, 200),
        (Kind.STEP, 200, 1480),
        (Kind.STEP, 1480, 2760),
        (Kind.STEP, 2760, 4040),
        (Kind.FINAL, 4040, 4500),
    ]


@pytest.mark.parametrize("piece", [320, 1600, STEP, 50_000])
def test_steps_come_at_fixed_distances_from_the_speech(piece: int) -> None:
    speech = 4321
    planner = opened(speech=speech)
    jobs = feed(planner, 0, speech + 3 * STEP + 100, piece)
    assert kinds([job for job in jobs if job.kind is Kind.STEP]) == [
        (Kind.STEP, 0, speech + count * STEP) for count in (1, 2, 3)
    ]


def test_partials_come_between_steps_as_often_as_asked_for() -> None:
    planner = opened(options=replace(OPTIONS, partial_samples=STEP // 4))
    jobs = feed(planner, 0, 2 * STEP, STEP // 8)
    expected = [(Kind.PARTIAL, 0, STEP * count // 4) for count in range(1, 9) if count % 4]
    assert kinds(jobs) == sorted([*expected, (Kind.STEP, 0, STEP), (Kind.STEP, 0, 2 * STEP)], key=lambda job: job[2])


def test_without_partials_there_is_only_the_final() -> None:
    planner = opened(options=replace(OPTIONS, partial_samples=None))
    assert feed(planner, 0, 10 * STEP, 1600) == []
    assert kinds(planner.apply(CloseSegment(10 * STEP), 0.0)) == [(Kind.FINAL, 0, 10 * STEP)]


def test_a_pause_gives_a_preview_of_the_final() -> None:
    planner = opened()
    feed(planner, 0, STEP + 500, 500)
    preview = planner.apply(PauseSegment(), 0.0)
    final = planner.apply(CloseSegment(STEP + 500), 0.0)
    assert kinds(preview) == [(Kind.PREVIEW, 0, STEP + 500)]
    assert kinds(final) == [(Kind.FINAL, 0, STEP + 500)]


@pytest.mark.parametrize("options", [OPTIONS, replace(OPTIONS, priority=Priority.BATCH)])
@pytest.mark.parametrize("info", [SEGMENT, STREAMING])
def test_a_pause_gives_nothing_where_nobody_waits_for_it(info, options: StreamOptions) -> None:  # type: ignore[no-untyped-def]
    planner = opened(info, options)
    feed(planner, 0, STEP, STEP)
    previews = planner.apply(PauseSegment(), 0.0)
    assert len(previews) == (info is SEGMENT and options is OPTIONS)


def test_a_forced_cut_takes_audio_back() -> None:
    planner = opened()
    jobs = feed(planner, 0, 4 * STEP, 800, sure=2 * STEP)
    steps = [job for job in jobs if job.kind is Kind.STEP]
    assert steps[-1].end == 2 * STEP, "nothing may be committed from what may be taken back"
    assert jobs[-1].kind is Kind.PARTIAL, "but it may be shown"
    (final,) = planner.apply(CloseSegment(3 * STEP), 0.0)
    assert kinds([final]) == [(Kind.FINAL, 0, 3 * STEP)]
    assert np.array_equal(planner.audio(final), ramp(0, 3 * STEP))
    planner.apply(OpenSegment(1, 3 * STEP, 3 * STEP), 0.0)
    jobs = feed(planner, 3 * STEP, 4 * STEP, 800)
    assert kinds(jobs)[-1] == (Kind.STEP, 3 * STEP, 4 * STEP)
    assert np.array_equal(planner.audio(jobs[-1]), ramp(3 * STEP, 4 * STEP))
    assert planner.segment_start(jobs[-1]) == 3 * STEP


def test_audio_of_a_job_stays_as_it_was() -> None:
    """The buffer grows, is cut and is appended to, while a job that was planned earlier still waits."""
    planner = opened()
    first = feed(planner, 0, STEP, STEP)[0]
    view = planner.audio(first)
    feed(planner, STEP, 40 * STEP, 1600)
    planner.apply(CloseSegment(39 * STEP), 0.0)
    assert np.array_equal(view, ramp(0, STEP))
    assert np.array_equal(planner.audio(first), view)


def test_the_backlog_is_what_waits_for_finals() -> None:
    planner = opened()
    feed(planner, 0, 5 * STEP, STEP)
    assert planner.backlog == 0
    (final,) = planner.apply(CloseSegment(4 * STEP), 0.0)
    assert planner.backlog == 4 * STEP
    planner.finished(final, has_text=True)
    assert planner.backlog == 0
    with pytest.raises(KeyError):
        planner.audio(final)


def test_deadlines_lie_on_the_time_axis_of_the_stream() -> None:
    """A minute that comes at once is due when it would have been heard; audio that comes late is due now."""
    planner = opened()
    steps = [job for job in feed(planner, 0, 60 * SAMPLE_RATE, SAMPLE_RATE, now=1.0) if job.kind is Kind.STEP]
    heard = [job.end / SAMPLE_RATE for job in steps]
    due = [job.deadline - STEP / SAMPLE_RATE for job in steps]
    assert due == pytest.approx([max(1.0, second) for second in heard])
    late = feed(planner, 60 * SAMPLE_RATE, 61 * SAMPLE_RATE, SAMPLE_RATE, now=100.0)
    assert min(job.deadline for job in late) == pytest.approx(100.0 + STEP / SAMPLE_RATE)


def test_only_what_is_shown_may_expire() -> None:
    planner = opened()
    jobs = [*feed(planner, 0, STEP, 4000), *planner.apply(PauseSegment(), 0), *planner.apply(CloseSegment(STEP), 0)]
    for job in jobs:
        patience = STEP_PATIENCE if job.kind in (Kind.STEP, Kind.PREVIEW) else float("inf")
        assert job.expires == job.deadline + patience
    streamed = opened(STREAMING)
    assert all(job.expires == float("inf") for job in feed(streamed, 0, 10 * CHUNK, CHUNK))
    batch = opened(options=replace(OPTIONS, priority=Priority.BATCH))
    steps = feed(batch, 0, STEP, STEP)
    assert [(job.expires, job.priority) for job in steps] == [(float("inf"), Priority.BATCH)]


def test_new_options_count_from_the_next_audio_on() -> None:
    planner = opened(options=replace(OPTIONS, partial_samples=None))
    assert feed(planner, 0, STEP, STEP) == []
    planner.apply(ConfigureStream(OPTIONS), 0.0)
    assert kinds(feed(planner, STEP, STEP + 10, 10)) == [(Kind.STEP, 0, STEP)]


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
            st.integers(0, 9_000),
            st.floats(0.6, 1.0),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_whatever_is_commanded(segments: list[tuple[list[int], int, float, bool]], streaming: bool) -> None:
    """Segments of any pieces, pauses anywhere, cuts that take audio back: the audio of the jobs is always the truth."""
    info = STREAMING if streaming else SEGMENT
    planner = Planner("stream", info, OPTIONS, 0.0)
    position = 0
    for number, (pieces, speech, keep, pause) in enumerate(segments):
        length = sum(pieces)
        end = position + max(1, int(length * keep))
        jobs = planner.apply(OpenSegment(number, position, position + speech), 0.0)
        at = position
        for piece in pieces:
            jobs += planner.apply(AppendAudio(ramp(at, at + piece), end), 0.0)
            jobs += planner.apply(PauseSegment(), 0.0) if pause else []
            at += piece
        jobs += planner.apply(CloseSegment(end), 0.0)

        assert [job.segment_id for job in jobs] == [number] * len(jobs)
        assert [job.kind is Kind.FINAL for job in jobs] == [False] * (len(jobs) - 1) + [True]
        assert jobs[-1].end == end
        for job in jobs:
            if job.end <= end:
                assert np.array_equal(planner.audio(job), ramp(job.start, job.end))
        if streaming:
            assert [job.start for job in jobs] == [position, *(job.end for job in jobs[:-1])]
        else:
            assert all(job.start == position for job in jobs)
            assert all(job.end <= end for job in jobs if job.kind in (Kind.STEP, Kind.PREVIEW))
        planner.finished(jobs[-1], has_text=True)
        position = end
    assert planner.backlog == 0


@pytest.mark.parametrize("has_text", [False, True])
def test_early_partials_come_until_there_is_something_to_show(has_text: bool) -> None:
    planner = opened()
    first, second, third = EARLY
    (early,) = feed(planner, 0, first, first)
    planner.finished(early, has_text=has_text)
    later = [job for job in feed(planner, first, STEP + 1_000 + third, 400) if job.kind is Kind.PARTIAL]
    assert early.kind is Kind.PARTIAL
    assert bool([job for job in later if job.end <= third + 400]) is not has_text
    assert first < second < third
