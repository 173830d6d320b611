"""Recording on a card: replays compute anew, and neither dropped nor failed recordings are in the way of the next."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from stream_server.engine.capture import Recorder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_recording_computes_anew_and_may_be_dropped() -> None:
    device = torch.device("cuda", 0)
    recorder = Recorder(device)
    matrix = torch.eye(256, device=device)
    for _ in range(3):
        replay, product = recorder.record(lambda: matrix @ matrix)
        for factor in (2.0, 3.0):
            matrix.copy_(factor * torch.eye(256, device=device))
            replay()
            assert torch.equal(product, factor * matrix)
        del replay, product
        recorder.renew()


def test_a_failed_recording_leaves_the_stream() -> None:
    device = torch.device("cuda", 0)
    recorder, before = Recorder(device), torch.cuda.current_stream(device)
    kept, calls = torch.zeros(8, device=device), 0
    replay, _ = recorder.record(lambda: kept.add_(1))

    def fail_in_the_capture() -> None:
        nonlocal calls
        calls += 1
        kept.add_(1)
        if calls == 3:
            raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        recorder.record(fail_in_the_capture)
    assert torch.cuda.current_stream(device) == before
    kept.zero_()
    replay()
    assert kept.tolist() == [1] * 8
    recorder.record(lambda: kept.add_(1))
