"""Which steps are built, and what happens where the device has no memory for them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.fastconformer.configuration import read_config
from stream_server.engine.fastconformer.keyterm import KeytermTable
from stream_server.engine.fastconformer.loading import load_model
from stream_server.engine.fastconformer.program import Chunk
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.state import State
from stream_server.engine.fault import device_faults
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError
from tests.support.checkpoint import make_checkpoint

SETTINGS = FastConformerSettings()


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Runner]:
    folder = make_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    config = read_config(folder)
    cpu = torch.device("cpu")
    model = load_model(config, folder, "cpu", torch.float32)

    def made(streams: int = 40, settings: FastConformerSettings = SETTINGS) -> Runner:
        state = State.allocate(config, streams, cpu, torch.float32)
        return Runner(model, state, KeytermTable(settings.keyterms, config.transducer, streams + 1, cpu), settings)

    return made


@pytest.mark.parametrize(
    ("streams", "changes", "buckets"),
    [
        (40, {}, {1: [1, 5, 20, 40], 14: [1, 5, 20, 40]}),
        (40, {"max_batch": 8}, {1: [1, 4, 8], 14: [1, 4, 8]}),
        (1000, {"max_batch_frames": 1792}, {1: [1, 7, 31, 125, 500, 1000], 14: [1, 4, 16, 64, 128]}),
        (1, {}, {1: [1], 14: [1]}),
        (40, {"max_batch_frames": 1}, {1: [1], 14: [1]}),
    ],
)
def test_buckets(make: Callable[..., Runner], streams: int, changes: dict[str, Any], buckets: dict[int, Any]) -> None:
    runner = make(streams, replace(SETTINGS, **changes))
    assert {frames: runner.buckets[frames] for frames in buckets} == buckets


def chunks(count: int, frames: int) -> list[Chunk]:
    audio = np.full(1280 * frames - 1080, 0.1, np.float32)
    return [Chunk(slot, audio, first=True, reset=True, last=False, frames=frames) for slot in range(count)]


def test_a_step_the_device_has_no_memory_for_is_left_out(
    make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner = make()
    build = runner._build

    def poor(frames: int, bucket: int, recorder: Any) -> Any:
        return None if frames * bucket > 100 else build(frames, bucket, recorder)

    monkeypatch.setattr(runner, "_build", poor)
    runner.warm_up()
    assert runner.buckets == {1: [1, 5, 20, 40], 2: [1, 5, 20, 40], 7: [1, 5], 14: [1, 5]}
    assert "steps of 40 streams by 14 frames are left out for lack of memory" in caplog.text
    assert len(runner.run(chunks(11, 14), 14)) == 11


@pytest.mark.parametrize("given_back", [True, False])
def test_steps_stay_within_their_memory(
    make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch, given_back: bool
) -> None:
    """The largest is tried first; all share what they take, in this test a byte for each frame.

    What one that is left out has taken may stay taken: that is no reason to leave out those that fit into it.
    """
    runner = make(settings=replace(SETTINGS, graph_bytes=300))
    build, taken = runner._build, 0

    def counted(frames: int, bucket: int, recorder: Any) -> Any:
        nonlocal taken
        taken = max(taken, frames * bucket)
        return build(frames, bucket, recorder)

    def reserved() -> int:
        return taken

    def collect() -> None:
        nonlocal taken
        taken = 0 if given_back else taken

    monkeypatch.setattr(runner, "_build", counted)
    monkeypatch.setattr(runner, "_reserved", reserved)
    monkeypatch.setattr(gc, "collect", collect)
    runner.warm_up()
    assert runner.buckets[14] == [1, 5, 20]
    assert runner.buckets[7] == [1, 5, 20, 40]
    assert runner.graph_bytes == (280 if given_back else 560)


def test_not_even_the_smallest_step_fits(make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make()

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nof many")

    monkeypatch.setattr("stream_server.engine.fastconformer.runner.Program", full)
    with pytest.raises(DeviceMemoryError, match=r"^CUDA out of memory\. Tried to allocate 2 GiB$"):
        runner.warm_up()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: out of memory"), DeviceMemoryError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), DeviceMemoryError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), DeviceMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), DeviceLostError),
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLostError),
        (RuntimeError("CUDA driver error: device not ready"), DeviceLostError),
        (RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"), DeviceLostError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
        (ValueError("audio is of finite numbers"), ValueError),
    ],
)
def test_faults_of_the_device_have_names_of_their_own(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught, device_faults():
        raise error
    assert type(caught.value) is expected
