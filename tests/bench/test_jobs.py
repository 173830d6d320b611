"""The benchmark of jobs: its recordings, its client, what it says of its figures, and a small run of the whole."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from fastapi import FastAPI, HTTPException

pytest.importorskip("psutil", reason="the extra `bench` is not installed")
pytest.importorskip("jiwer", reason="the extra `bench` is not installed")

import psutil

from bench import interference, jobs, submission, whole
from bench.corpus import SAMPLE_RATE, Clip
from bench.footprint import watched
from bench.interference import Interference, Turn
from bench.score import WordErrors
from bench.submission import Desk, Standing, SubmissionError
from bench.tape import write_joined, write_long, write_track
from tests.bench.test_capacity import make_load


def clip(name: str, seconds: float, value: int, reference: str | None = None) -> Clip:
    return Clip(name, Path(name), np.full(round(seconds * SAMPLE_RATE), value, np.int16), reference)


def runs(path: Path) -> list[tuple[int, float]]:
    """What a file holds: values and for how many seconds each is repeated."""
    samples, rate = soundfile.read(path, dtype="int16")
    edges = np.flatnonzero(np.diff(samples)) + 1
    return [(int(part[0]), len(part) / rate) for part in np.split(samples, edges)]


def test_long_tapes_have_their_length_to_the_sample_and_silence_after_every_minute(tmp_path: Path) -> None:
    tape = write_long(tmp_path / "long.flac", [clip("a", 25, 1), clip("b", 20, 2)], 200.5)
    assert tape.seconds == 200.5
    assert runs(tape.path) == [
        *((1, 25), (0, 0.6), (2, 20), (0, 0.6), (1, 25), (0, 30)),  # 70 s of speech, 10 more than a minute
        *((2, 20), (0, 0.6), (1, 25), (0, 0.6), (2, 20), (0, 30)),
        (1, pytest.approx(200.5 - 197.4)),
    ]


def test_joined_tapes_leave_out_the_start_of_every_recording(tmp_path: Path) -> None:
    clips = [clip("a", 1, 1, "one"), clip("b", 2, 2, "two"), clip("c", 1, 3)]
    tape = write_joined(tmp_path / "joined.flac", clips, 1.5, start_ms=250)
    assert runs(tape.path) == [(1, 0.75), (0, 1.5), (2, 1.75), (0, 1.5), (3, 0.75), (0, 1.5)]
    assert (tape.seconds, tape.reference) == (7.75, "one two ")


def test_the_track_of_live_speech_is_a_wav_file(tmp_path: Path) -> None:
    track = write_track(tmp_path / "track.wav", [clip("a", 1, 1), clip("b", 2, 2)])
    assert runs(track) == [(1, 1), (0, 1), (2, 2), (0, 1)]
    assert soundfile.info(track).format == "WAV"


async def test_memory_is_that_of_the_whole_tree() -> None:
    hold = "held = bytearray(80 * 2**20); print(flush=True); input()"
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", hold, stdin=pipe, stdout=pipe)
    try:
        assert child.stdout is not None
        await child.stdout.readline()
        own = psutil.Process().memory_info().rss / 2**20
        async with watched(psutil.Process()) as footprint:
            pass
    finally:
        child.kill()
        await child.communicate()
    assert footprint.processes == 2
    assert footprint.resident > own + 80
    assert 80 < footprint.mib <= footprint.resident


def desk_of(app: FastAPI) -> Desk:
    return Desk(httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://server"))


def body(job: str, status: str, percent: int | None = None, error: Any = None) -> dict[str, Any]:
    progress = None if percent is None else {"percent": percent}
    return {"id": job, "status": status, "progress": progress, "error": error, "text": "so it is", "segments": [{}]}


async def test_a_job_is_waited_for_and_its_progress_told() -> None:
    app = FastAPI()
    told = iter([body("j", "queued"), body("j", "processing", 40), body("j", "processing", 90), body("j", "completed")])
    app.get("/v1/transcriptions/j")(lambda: next(told))
    steps: list[float] = []
    transcript = await desk_of(app).result("j", steps.append)
    assert (transcript.text, transcript.segments) == ("so it is", 1)
    assert steps == pytest.approx([0.4, 0.5, 0.1])


async def test_a_job_that_fails_ends_the_benchmark() -> None:
    app = FastAPI()
    app.get("/v1/transcriptions/j")(lambda: body("j", "failed", error={"message": "not audio"}))
    with pytest.raises(SubmissionError, match=r"failed: .*not audio"):
        await desk_of(app).result("j")


async def test_a_job_that_nobody_works_on_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_STILL_SEC", 0.0)
    app = FastAPI()
    app.get("/v1/transcriptions/j")(lambda: body("j", "queued"))
    with pytest.raises(SubmissionError, match="not moved for 0 s: it is queued"):
        await desk_of(app).result("j")


async def test_a_refusal_ends_the_benchmark(tmp_path: Path) -> None:
    app = FastAPI()

    @app.post("/v1/transcriptions")
    def refuse() -> None:
        raise HTTPException(429, "too many")

    tape = write_joined(tmp_path / "a.flac", [clip("a", 1, 1)], 0)
    with pytest.raises(SubmissionError, match=r"HTTP 429: .*too many"):
        await desk_of(app).submit(tape.path)


async def test_the_standing_is_of_the_jobs_asked_for() -> None:
    app = FastAPI()
    listed = [body("a", "completed"), body("b", "processing", 50), body("c", "queued"), body("x", "failed")]
    app.get("/v1/transcriptions")(lambda: {"data": listed})
    desk = desk_of(app)
    assert await desk.standing(["a", "b", "c"]) == Standing(completed=1, unfinished=2, share=0.5)
    with pytest.raises(SubmissionError, match="1 jobs are not there"):
        await desk.standing(["a", "gone"])
    with pytest.raises(SubmissionError, match="ended as failed"):
        await desk.standing(["a", "x"])


def test_the_rise_compares_turns_with_jobs_and_without() -> None:
    def beside(p95: float, before: float, after: float, left: int) -> Turn:
        return Turn(make_load(8, p95), Standing(0, 100, before), Standing(100 - left, left, after))

    noticed = Interference(
        (Turn(make_load(8, 50)), beside(70, 0, 0.2, 80), Turn(make_load(8, 70)), beside(62, 0, 0.35, 1)), 44
    )
    assert noticed.rise == 1.1
    assert noticed.job_speed == pytest.approx((0.2 + 0.35) * 100 * 44 / 22)  # each of the loads lasted 11 s
    assert [check.passed for check in noticed.checks()] == [True, True, True]


@pytest.mark.parametrize(
    ("beside", "left", "passed"),
    [
        (make_load(8, 61), 5, [False, True, True]),
        (make_load(8, 50, lost=1), 5, [True, False, True]),
        (make_load(8, 50, errors={"TIMEOUT": 1}), 5, [True, False, True]),
        (make_load(8, 50), 0, [True, True, False]),  # nothing was going on in the end
        (make_load(8, None), 5, [False, True, True]),
    ],
)
def test_what_live_callers_must_not_notice(beside: Any, left: int, passed: list[bool]) -> None:
    turn = Turn(beside, Standing(0, 100, 0.0), Standing(100 - left, left, 0.5))
    noticed = Interference((Turn(make_load(8, 50)), turn), 100.0)
    assert [check.passed for check in noticed.checks()] == passed


def test_whole_files_are_compared_start_by_start() -> None:
    def errors(*substitutions: int) -> tuple[WordErrors, ...]:
        return tuple(WordErrors(100, each, 0, 0) for each in substitutions)

    texts = whole.WholeFiles(
        (0, 10),
        {
            whole.BY_MODEL: errors(10, 20),
            whole.BY_JOB: errors(10, 20),
            whole.IN_ONE: errors(10, 21),
            whole.BY_SPEAKER: errors(12, 20),
        },
    )
    assert texts.above(whole.BY_SPEAKER, whole.BY_MODEL) == (1.0, pytest.approx(1.0))
    assert [(check.value, check.passed) for check in texts.checks()] == [(0.5, True), (1.0, False)]


def test_speakers_of_librispeech() -> None:
    clips = [clip("1688-142285-0000", 1, 1), clip("1998-15444-0000", 1, 1), clip("1688-142285-0001", 1, 1)]
    assert {name: len(spoken) for name, spoken in whole.by_speaker(clips).items()} == {"1688": 2, "1998": 1}


def test_longer_recordings_may_take_time_but_not_memory() -> None:
    def passage(audio: float, wall: float, memory: float) -> jobs.Passage:
        return jobs.Passage(audio, wall, 0.1, 1, 1.0, 0.0, memory, memory, memory)

    found = jobs.passage_checks([passage(3600, 216, 572), passage(14_400, 870, 592)])
    assert [check.passed for check in found] == [True, True, False, False, False]


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--rounds", "0"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        jobs.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_a_small_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference, "JOBS", 3)
    monkeypatch.setattr(interference, "_PAUSE_SEC", 0.0)
    assert (
        jobs.main(["--only", "throughput,accuracy,latency", "--minutes", "0.1", "--seconds", "2", "--rounds", "1"]) == 0
    )
    written = capsys.readouterr()
    assert "word error rates are left out" in written.err  # the recordings of the wheel have no transcripts
    result = json.loads(written.out.splitlines()[-1])
    assert [(passage["audio_sec"], passage["segments"] > 0) for passage in result["long_recordings"]] == [(6, True)]
    assert [turn["jobs_before"] is None for turn in result["latency"]["turns"]] == [True, False]
    assert len(result["checks"]) == 5
