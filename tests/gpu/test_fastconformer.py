"""The streaming transducer on a card: captured steps against eager ones, memory, and the labels of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.fastconformer.configuration import read_config
from stream_server.engine.fastconformer.keyterm import KeytermTable
from stream_server.engine.fastconformer.loading import load_fastconformer, load_model
from stream_server.engine.fastconformer.program import Chunk, Emission
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.state import State
from stream_server.engine.work import AppendAudio, Audio, CloseSegment, OpenSegment, Outcome, Result, StreamOptions
from tests.support.checkpoint import make_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

SETTINGS = FastConformerSettings(max_batch=16)
CHUNK = 1280


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """float32 is float32: by default convolutions on a card round to 10 bits."""
    settings = torch.backends.cudnn.conv
    before = settings.fp32_precision  # not by monkeypatch: what torch makes up on reading cannot be deleted again
    settings.fp32_precision = "ieee"
    yield
    settings.fp32_precision = before


@pytest.fixture(scope="module", params=["nemotron_asr_streaming", "nemotron3_5_asr"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


def noise(samples: int, seed: int) -> Audio:
    random = np.random.default_rng(seed)
    loudness = np.repeat(random.random(samples // 1600 + 1), 1600)[:samples]
    return np.asarray(0.1 * random.standard_normal(samples) * loudness, np.float32)


def make_runner(folder: Path, device: str, dtype: Any, settings: FastConformerSettings = SETTINGS) -> Runner:
    config = read_config(folder)
    model = load_model(config, folder, device, dtype)
    state = State.allocate(config, 16, torch.device(device), dtype)
    keyterms = KeytermTable(settings.keyterms, config.transducer, 17, torch.device(device))
    return Runner(model, state, keyterms, settings)


def rounds(frames: int, streams: int, count: int = 6) -> list[list[Chunk]]:
    """Chunks of some streams that begin one after the other; one of them ends on the way and begins anew."""
    made = []
    for number in range(count):
        chunks = []
        for slot in range(streams):
            begun = number >= slot % 3
            first = number == slot % 3 or (slot == 1 and number == 4)
            last = slot == 1 and number == 3
            size = CHUNK * frames - (1080 if first else 500 if last else 0)
            if begun:
                audio = noise(size, 100 * slot + number)
                chunks.append(Chunk(slot, audio, first=first, reset=first, last=last, frames=frames))
        made.append(chunks)
    return made


def play(runner: Runner, frames: int, streams: int) -> list[list[Emission]]:
    return [runner.run(chunks, frames) for chunks in rounds(frames, streams)]


@pytest.mark.parametrize("frames", [1, 2, 7, 14])
def test_captured_steps_do_what_eager_ones_do(folder: Path, frames: int) -> None:
    captured, eager = (make_runner(folder, "cuda:0", torch.float32) for _ in range(2))
    assert captured.model.encoder.fused is not None
    captured.warm_up()
    eager._build_all = lambda: None  # type: ignore[method-assign]
    for size in eager.buckets[frames]:
        program = eager._build(frames, size, None)
        assert program is not None
        eager._programs[frames, size] = program
    assert play(captured, frames, 5) == play(eager, frames, 5)
    assert sum(len(emission.tokens) for step in play(captured, frames, 5) for emission in step) > 20


@pytest.mark.parametrize("frames", [1, 7])
def test_the_card_says_what_the_cpu_says(folder: Path, frames: int) -> None:
    card, cpu = make_runner(folder, "cuda:0", torch.float32), make_runner(folder, "cpu", torch.float32)
    card.warm_up()
    cpu.warm_up()
    for one, other in zip(play(card, frames, 5), play(cpu, frames, 5), strict=True):
        assert [emission.tokens for emission in one] == [emission.tokens for emission in other]
        assert [emission.frames for emission in one] == [emission.frames for emission in other]


def test_where_kernels_cannot_be_compiled_torch_takes_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    kernels = pytest.importorskip("stream_server.engine.fastconformer.kernel.encoder")
    monkeypatch.setattr(kernels.FusedEncoder, "__call__", fail)
    runner = make_runner(folder, "cuda:0", torch.bfloat16)
    assert runner.model.encoder.fused is None
    assert "without kernels of its own" in caplog.text
    runner.warm_up()
    assert len(play(runner, 7, 5)) == 6


def test_nothing_is_allocated_in_the_steady_state(folder: Path) -> None:
    runner = make_runner(folder, "cuda:0", torch.bfloat16)
    runner.warm_up()
    play(runner, 7, 9)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for _ in range(5):
        play(runner, 7, 9)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_steps_that_take_too_much_memory_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    runner = make_runner(folder, "cuda:0", torch.bfloat16, replace(SETTINGS, graph_bytes=0))
    runner.warm_up()
    assert all(buckets == [1] for buckets in runner.buckets.values())
    assert "left out" in caplog.text
    assert len(runner.run(rounds(7, 5)[-1], 7)) == 5


def test_the_whole_engine_in_bfloat16(folder: Path) -> None:
    recognizer = load_fastconformer("tiny", folder, "cuda:0", 8, SETTINGS)
    engine = Engine(recognizer, EngineSettings(8), clock=lambda: 0.0)
    outcomes: list[list[Outcome]] = []
    for seed in range(8):
        outcomes.append([])
        stream = engine.open(StreamOptions("auto", chunk_samples=8960), outcomes[-1].append)
        audio = noise(60_000, seed)
        stream.submit([OpenSegment(0, 0, 0), AppendAudio(audio, 10**9), CloseSegment(len(audio))])
    while engine.step():
        pass
    for mine in outcomes:
        results = [each for each in mine if isinstance(each, Result)]
        assert results[-1].is_final
        assert results[-1].hypothesis.text
        assert all(results[-1].hypothesis.text.startswith(result.hypothesis.text) for result in results)
