"""A detector that is not inline: batched over sessions, in a thread; and what becomes of those it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from stream_protocol.messages import Init
from stream_server.audio.segmenter import SegmenterSettings
from stream_server.audio.vad import VadState
from stream_server.channel import Detection
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.limits import SessionLimit
from stream_server.metrics.diarization import DiarizationMetrics
from stream_server.metrics.live import LiveMetrics
from stream_server.negotiation import negotiate
from stream_server.transport import live as live_module
from stream_server.transport.detection import Detector
from stream_server.transport.diarization import LiveDiarizer
from stream_server.transport.outbox import Outbox
from stream_server.transport.registry import Registry
from tests.support.driven import LOUD, LoudnessVad
from tests.support.fake import FakeRecognizer
from tests.support.voices import FakeVoices

Frames = NDArray[np.float32]


class Slow(LoudnessVad):
    """Waits for the gate; remembers how many streams each batch had."""

    def __init__(self) -> None:
        super().__init__(inline=False)
        self.gate = threading.Event()
        self.batches: list[int] = []
        self.fails = False

    def detect(self, states: Sequence[VadState], frames: Sequence[Frames]) -> list[Frames]:
        assert self.gate.wait(10)
        self.batches.append(len(states))
        if self.fails:
            raise RuntimeError("told to fail")
        return super().detect(states, frames)


def detection(level: float = LOUD) -> Detection:
    return Detection(VadState(), np.full(640, level, np.float32))


async def answers(detector: Detector, count: int) -> list[Frames | Exception]:
    came = [asyncio.get_running_loop().create_future() for _ in range(count)]
    for future in came:
        detector.submit(detection(), future.set_result)
    return list(await asyncio.gather(*came))


async def test_what_waits_becomes_one_batch() -> None:
    detector = Detector(vad := Slow(), asyncio.get_running_loop(), max_batch=4)
    asyncio.get_running_loop().call_later(0.05, vad.gate.set)
    first = asyncio.create_task(answers(detector, 1))
    await asyncio.sleep(0.01)
    came = await answers(detector, 6)
    await first
    assert vad.batches == [1, 4, 2]
    assert all(isinstance(answer, np.ndarray) and answer.tolist() == [1.0, 1.0] for answer in came)
    detector.close()


async def test_a_failed_batch_is_told_to_each_and_the_next_is_judged(caplog: pytest.LogCaptureFixture) -> None:
    detector = Detector(vad := Slow(), asyncio.get_running_loop())
    vad.gate.set()
    vad.fails = True
    assert [type(answer) for answer in await answers(detector, 3)] == [RuntimeError] * 3
    vad.fails = False
    assert all(isinstance(answer, np.ndarray) for answer in await answers(detector, 3))
    assert "failed on a batch of 3" in caplog.text
    detector.close()


async def test_a_session_whose_detector_fails_is_told_and_one_that_is_flooded_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_module, "MAX_UNDETECTED", 16_000)
    loop = asyncio.get_running_loop()
    vad = Slow()
    engine = Engine(FakeRecognizer(), EngineSettings())
    engine.start()
    detector = Detector(vad, loop)
    limit = SessionLimit(9, most_per_key=0, retry_after=1)
    metrics = LiveMetrics(CollectorRegistry())
    diarizer = LiveDiarizer(FakeVoices, loop, DiarizationMetrics(CollectorRegistry()))
    registry = Registry(
        engine, {vad.name: detector}, SegmenterSettings(), limit, diarizer, resume_window=9, loop=loop, metrics=metrics
    )
    live = registry.create(negotiate(Init(dtype="int16"), engine.info, (vad.name,)), None)
    outbox = Outbox(100)
    live.attach(outbox)
    flood = asyncio.create_task(live.receive_bytes(bytes(600_000), outbox))
    await asyncio.sleep(0.05)
    assert not flood.done()
    assert live.session.undetected < 16_000 + 2 * live_module.SLICE_BYTES
    vad.gate.set()
    await flood
    assert live.session.received_samples == 300_000
    vad.fails = True
    await live.receive_bytes(bytes(3200), outbox)
    await live.closed.wait()
    said = []
    while item := await outbox.get():
        said.append(item.text)
    assert "INTERNAL_ERROR" in said[-1]
    assert outbox.close_code == 1011
    assert limit.taken == 0
    assert engine.streams == 0
    registry.close()
    detector.close()
    diarizer.close()
    engine.stop()
