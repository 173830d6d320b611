"""The benchmark of the engine: its clock, its search, its count of costs, and one run of everything on tiny weights."""

import json
import math
import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for extra in ("torch", "safetensors", "tokenizers", "psutil"):
    pytest.importorskip(extra, reason="the gpu extra is not installed")

from bench import engine
from bench.checkpoint import SIZES, VOCABULARY, write_configuration
from bench.driver import EngineLoad, RecognizerLoad
from bench.floor import Rates, count
from bench.realtime import ModelledLoad, Played, Schedule, find_capacity, play, predict
from bench.report import Check
from bench.rival import largest_batch
from bench.speech import Speech, SpeechError, load_speech
from stream_server.engine.fastconformer.configuration import read_config
from stream_server.engine.recognizer import RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import Hypothesis, StreamOptions

FRAME = 1280
LEAD = 1080


def played(streams: int, *, holds: bool) -> Played:
    late = 0.0 if holds else math.inf
    return Played(streams, 1.0, 1, late, late, 0.0, 1, 1, 0.1, 1.0, 1.0, 0.0)


def run_modelled(streams: int, schedule: Schedule, seconds: float, most: int) -> Played:
    load = ModelledLoad(streams, round(schedule.period / schedule.interval), most, lambda batch: seconds)
    return play(load, schedule, load.timer)


def test_a_stream_alone_waits_for_its_own_step() -> None:
    result = run_modelled(1, Schedule.of(0.5, 0.1, 5.0), 0.2, 1)
    assert result.holds
    assert [result.p50, result.p99] == pytest.approx([0.2, 0.2])
    assert result.chunks == 11  # both ends of the 5 s that count
    assert result.busy == pytest.approx(0.2 * (result.steps + 1), abs=0.21)
    assert result.to_dict()["p50_ms"] == 200.0


def test_streams_that_begin_apart_do_not_wait_for_each_other() -> None:
    assert run_modelled(4, Schedule.of(1.0, 0.1, 8.0), 0.2, 1).p99 == pytest.approx(0.2)
    # A fifth leaves no room between them, and a sixth is one too many.
    assert run_modelled(5, Schedule.of(1.0, 0.1, 8.0), 0.2, 1).holds
    assert not run_modelled(6, Schedule.of(1.0, 0.1, 8.0), 0.2, 1).holds


def test_a_growing_queue_does_not_hold_even_while_it_is_short() -> None:
    schedule = Schedule.of(1.0, 1.0, 8.0)
    result = run_modelled(103, schedule, 0.1, 10)  # 3 % more than full batches carry
    assert result.p99 < schedule.period
    assert not result.holds


def test_what_is_never_taken_is_late() -> None:
    class Deaf(ModelledLoad):
        def step(self, now: float) -> Sequence[tuple[int, int]]:
            return []

    load = Deaf(3, 1, 1, lambda batch: 0.1)
    result = play(load, Schedule.of(1.0, 1.0, 4.0), load.timer)
    assert math.isinf(result.p99)
    assert not result.holds


@pytest.mark.parametrize("limit", [1, 2, 9, 137, 1000])
@pytest.mark.parametrize("guess", [1, 100, 5000])
def test_the_search_finds_the_limit_from_any_guess(limit: int, guess: int) -> None:
    found = find_capacity(lambda streams: played(streams, holds=streams <= limit), guess, 4000, tolerance=0.0)
    assert (found.streams, found.complete, found.limited) == (limit, True, False)
    rough = find_capacity(lambda streams: played(streams, holds=streams <= limit), guess, 4000)
    assert 0.96 * limit <= rough.streams <= limit
    assert len(rough.tried) <= 16


def test_the_search_ends_at_the_slots_at_nothing_and_with_the_time() -> None:
    slots = find_capacity(lambda streams: played(streams, holds=True), 10, 50)
    assert (slots.streams, slots.limited) == (50, True)
    nothing = find_capacity(lambda streams: played(streams, holds=False), 10, 50)
    assert (nothing.streams, nothing.best, nothing.complete) == (0, None, True)
    late = find_capacity(lambda streams: played(streams, holds=True), 10, 50, has_time=lambda: False)
    assert (late.streams, late.complete) == (10, False)


def test_the_prediction_is_that_of_the_formula() -> None:
    # Batches of 64 take 20 ms, whatever is in them: 28 of them fit into 560 ms.
    schedule = Schedule.of(0.56, 0.56, 4.0)
    assert predict(schedule, 10_000, 64, lambda batch: 0.02) == pytest.approx(64 * 28, rel=0.03)
    # Unbounded batches of a + b n: who comes as a step begins waits for two of them.
    predicted = predict(schedule, 10_000, 10**6, lambda batch: 0.1 + 0.001 * batch)
    assert predicted == pytest.approx(560 * (1 - 2 * 0.1 / 0.56), rel=0.05)


def test_the_largest_batch_in_few_attempts() -> None:
    tried: list[int] = []

    def holds(batch: int) -> bool:
        tried.append(batch)
        return batch <= 300

    assert 240 <= largest_batch(holds, 4096, lambda: True) <= 300
    assert len(tried) <= 9
    assert largest_batch(lambda batch: True, 100, lambda: True) == 100
    assert largest_batch(lambda batch: False, 100, lambda: True) == 0


class Silent:
    """A recognizer that notes what it is given."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.streams: list[Stream] = []
        self.info = RecognizerInfo(
            "silent", "streaming", ("en",), "", 7 * FRAME, 4, 10**9, chunks=(FRAME, 7 * FRAME), lead_samples=LEAD
        )

    def new_stream(self, slot: Slot) -> Stream:
        self.streams.append(Stream())
        return self.streams[-1]

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        # Audio is valid until the step has been taken.
        self.tasks += [replace(task, audio=task.audio.copy()) for task in tasks]
        return [Hypothesis("", 0, 0.0, "en") for _ in tasks]


@pytest.mark.parametrize("chunk", [FRAME, 7 * FRAME])
def test_both_loads_ask_for_the_same(chunk: int) -> None:
    speech = Speech(np.random.default_rng(0).standard_normal(16_000 * 3, dtype=np.float32), "noise", 16_000)
    asked: list[list[tuple[object, ...]]] = []
    for kind in (RecognizerLoad, EngineLoad):
        recognizer = Silent()
        load = kind(recognizer, speech, 3, chunk, StreamOptions("en", chunk_samples=chunk))  # type: ignore[arg-type]
        due = 0
        done: list[tuple[int, int]] = []
        for _ in range(300):  # 24 s, in which every stream ends two segments
            for stream in range(3):
                due += load.deliver(stream, 0.0)
            while finished := load.step(0.0):
                done += finished
        assert len(done) == due
        streams = [recognizer.streams.index(task.stream) for task in recognizer.tasks]
        ends = [(task.start + len(task.audio) - 1) // FRAME for task in recognizer.tasks]
        assert sorted(done) == sorted(zip(streams, ends, strict=True))
        asked.append(
            sorted(
                (stream, task.segment_id, task.start, task.kind.name, len(task.audio), sum(task.audio))
                for stream, task in zip(streams, recognizer.tasks, strict=True)
            )
        )
    assert asked[0] == asked[1]
    assert {name for _, _, _, name, _, _ in asked[0]} == {"STEP", "FINAL"}


def test_speech_goes_round_and_is_never_silent(tmp_path: Path) -> None:
    speech = Speech(np.concatenate([np.ones(16_000), np.zeros(16_000)]).astype(np.float32), "half", 2000)
    assert np.array_equal(speech.take(1, 100, 2000), speech.take(1, 32_100, 2000))
    assert not np.array_equal(speech.take(1, 100, 2000), speech.take(2, 100, 2000))
    assert np.count_nonzero(speech.take(0, 16_000, 2000)) == 2000
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(64_000))
    with pytest.raises(SpeechError, match="16 kHz"):
        load_speech(path, 1000)
    with pytest.raises(SpeechError, match="cannot be read"):
        load_speech(tmp_path / "none.wav", 1000)


@pytest.mark.parametrize("family", list(VOCABULARY))
def test_the_floor_counts_what_the_model_does(family: str, tmp_path: Path) -> None:
    write_configuration(tmp_path, SIZES["random"], family)
    config = read_config(tmp_path)
    parameters = 618_000_000
    costs = {frames: count(config, parameters, frames, 2, 3.0) for frames in (1, 7, 14)}
    for frames, cost in costs.items():
        # About 15 GFLOP for a second of audio, a little more where frames share less.
        assert 14e9 < cost.row_flops / (frames * 0.08) < 18e9
        assert cost.weights == 2 * parameters
    # The memory of earlier frames is most of what a short chunk moves.
    ring = 24 * config.encoder.left * 1024 * 2
    assert ring < costs[1].row_bytes < 1.9 * ring
    rates = Rates(bandwidth=4e12, flops=8e14)
    assert costs[1].bound(1, rates) == "bandwidth"
    assert costs[1].seconds(1, rates) == pytest.approx((2 * parameters + costs[1].row_bytes) / 4e12)
    streams = costs[14].streams(1.12, rates)
    assert costs[14].seconds(streams, rates) == pytest.approx(1.12, rel=1e-3)


def test_a_figure_may_have_to_be_at_least_its_target() -> None:
    assert Check("", 600, 600, at_least=True).passed
    assert not Check("", 599, 600, at_least=True).passed
    assert not Check("", None, 600, at_least=True).passed


@pytest.mark.parametrize(
    "arguments", [["--only", "speed"], ["--streams", "0"], ["--budget", "-1"], ["--family", "whisper"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        engine.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_a_folder_without_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine.main(["--weights", str(tmp_path / "none"), "--device", "cpu"]) == 1
    assert "config.json" in capsys.readouterr().err


@pytest.mark.parametrize("family", list(VOCABULARY))
def test_everything_on_tiny_weights(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--streams", "3", "--batch", "2", "--seconds", "0.1", "--budget", "60"]
    whole = family == engine.FAMILIES[0]
    only = [] if whole else ["--only", "split"]
    arguments = ["--weights", "tiny", "--family", family, "--device", "cpu", "--output", str(tmp_path), *sizes, *only]
    assert engine.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(printed[-1])
    assert json.loads(next(tmp_path.glob("*.json")).read_text()) == result
    assert result["checks"] == []  # targets are for cards
    assert 2 < result["calibration"]["tokens_per_sec"] < 4
    assert result["calibration"]["more_than"][2] == 0.0
    assert list(result["chunks"]) == ["80", "160", "560", "1120"]
    for chunk in result["chunks"].values():
        for where in ("recognizer", "engine") if whole else ():
            capacity = chunk["capacity"][where]
            assert 0 <= capacity["streams"] <= 3
            assert len(capacity["tried"]) >= 1
            assert 0 <= chunk["tokens_per_sec"][where] < 10
        step = chunk["step"]
        assert step["rows"] in (1, 2)
        assert step["rounds"] >= 1
        parts = ("total", "run", "fill", "copy_in", "features", "encoder", "search", "copy_out", "text", "other")
        assert all(step[f"{part}_ms"] >= 0 for part in parts)
        assert chunk["floor"]["gap"] > 0
        assert chunk["floor"]["streams"] > 0
    if whole and "transformers" not in result["skipped"]:
        assert all(chunk["transformers"]["streams"] >= 0 for chunk in result["chunks"].values())
        assert result["offline"]["audio_sec_per_sec"] > 0
    memory = result["memory"]
    assert memory["stream_mb"] > 0
    assert memory["peak_gb"] > memory["model_gb"] > 0
