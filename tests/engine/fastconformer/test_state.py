"""The slots: their size, what is read from them and what is written."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from torch._subclasses.fake_tensor import FakeTensorMode

from stream_server.engine.fastconformer.configuration import (
    EncoderConfig,
    FastConformerConfig,
    FeatureConfig,
    TransducerConfig,
)
from stream_server.engine.fastconformer.state import Rows, State, Update

CPU = torch.device("cpu")


def sizes(left: int = 70, hidden: int = 1024, layers: int = 24) -> FastConformerConfig:
    return FastConformerConfig(
        model_type="nemotron_asr_streaming",
        feature=FeatureConfig(16000, 512, 400, 160, 128, 0.97, "float32"),
        encoder=EncoderConfig(
            hidden, layers, 8, 4096, 9, left, (3, 0), 3, 128, 8, 256, 3, 2, True, True, True, "silu"
        ),
        transducer=TransducerConfig(1025, 640, 2, 1024, 10, "relu"),
        prompt=None,
    )  # fmt: skip


def rows_of(slot: list[int], frames: list[int], reset: list[bool] | None = None) -> Rows:
    flag = torch.zeros(len(slot), dtype=torch.bool)
    number = torch.zeros(len(slot), dtype=torch.int64)
    begin = flag if reset is None else torch.tensor(reset)
    return Rows(torch.tensor(slot), begin, begin, flag, number, torch.tensor(frames), number)


@pytest.mark.parametrize(("left", "size"), [(70, 3_845_724), (56, 3_157_596)])
def test_bytes_of_the_full_size(left: int, size: int) -> None:
    config = sizes(left)
    assert State.bytes_for(config, torch.bfloat16) == size <= 5_000_000
    with FakeTensorMode():
        state = State.allocate(config, 1000, CPU, torch.bfloat16)
    assert state.bytes_per_stream == size
    assert (state.slots, state.scratch, len(state.count)) == (1000, 1000, 1001)


def test_a_device_without_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "zeros", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        State.allocate(sizes(), 1, CPU, torch.bfloat16)


def update_of(config: FastConformerConfig, state: State, rows: Rows, chunk: int, base: float) -> Update:
    """Frame i of row r carries ``base + 10 r + i``."""
    batch = len(rows.slot)
    value = base + 10 * torch.arange(batch)[:, None] + torch.arange(chunk)
    encoder, memory = config.encoder, state.gather(rows)
    frames = value[None, :, :, None].expand(encoder.layers, -1, -1, encoder.hidden).float().contiguous()
    return Update(
        attention=frames,
        convolution=-frames,
        count=memory.count,
        position=memory.position,
        tail=torch.full((batch, state.tail.shape[1]), base),
    )


@pytest.mark.parametrize("hidden", [8, 5])  # the latter is no whole number of 64-bit words
def test_frames_go_round_the_ring(hidden: int) -> None:
    config = sizes(left=6, hidden=hidden, layers=2)
    state = State.allocate(config, 3, CPU, torch.float32)
    attention = state.attention
    # Slot 2 takes 4 frames, then 4, then 1 of 4; slot 0 none, then 2, then 4.
    for step, frames in enumerate(([4, 0], [4, 2], [1, 4])):
        rows = rows_of([2, 0], frames, [step == 0] * 2)
        state.commit(rows, update_of(config, state, rows, 4, 100.0 * (step + 1)))
    for layer in range(2):
        assert attention[layer, 2, :, 0].tolist() == [202, 203, 300, 103, 200, 201]
        assert attention[layer, 0, :, 0].tolist() == [210, 211, 310, 311, 312, 313]
        assert torch.equal(state.gather_ring(layer, rows_of([2, 0, 2], [4] * 3)), attention[layer, [2, 0, 2]])
    heard = torch.empty(2, 2, config.encoder.kernel - 1, hidden)
    rows = rows_of([2, 0], [4, 4])
    state.gather_convolution(rows, state.gather(rows).count, out=heard)
    for layer in range(2):
        assert heard[layer, 0, :, 0].tolist() == [-101, -102, -103, -200, -201, -202, -203, -300]
        assert heard[layer, 1, :, 0].tolist() == [0, 0, -210, -211, -310, -311, -312, -313]
    assert not attention[:, 1].any()
    assert state.count.tolist()[:3] == [6, 0, 9]
    assert state.position.tolist()[:3] == [6, 0, 9]
    assert attention.data_ptr() == state.attention.data_ptr()


def test_of_more_frames_than_a_ring_holds_the_last_stay() -> None:
    config = sizes(left=20, hidden=8, layers=2)
    state = State.allocate(config, 2, CPU, torch.float32)
    for step, frames in enumerate(([3, 11], [14, 14])):
        rows = rows_of([1, 0], frames, [step == 0] * 2)
        state.commit(rows, update_of(config, state, rows, 14, 100.0 * (step + 1)))
    heard = torch.empty(2, 2, config.encoder.kernel - 1, 8)
    state.gather_convolution(rows, state.gather(rows).count, out=heard)
    assert heard[0, :, :, 0].tolist() == [[-206 - n for n in range(8)], [-216 - n for n in range(8)]]


def test_a_reset_hides_what_was_there() -> None:
    config = sizes(left=6, hidden=8, layers=2)
    state = State.allocate(config, 3, CPU, torch.float32)
    for name in state.__slots__:
        getattr(state, name).fill_(20)
    rows = rows_of([1, 2], [4, 4], [True, False])
    memory = state.gather(rows)
    assert memory.count.tolist() == memory.position.tolist() == [0, 20]
    assert memory.tail.mean(dim=1).tolist() == [0, 20]
    convolution = torch.empty(2, 2, config.encoder.kernel - 1, 8)
    state.gather_convolution(rows, memory.count, out=convolution)
    assert convolution.mean(dim=(0, 2, 3)).tolist() == [0, 20]
    assert state.count.tolist() == [20, 20, 20, 20]


def test_a_segment_may_begin_without_forgetting() -> None:
    config = sizes(left=6, hidden=8, layers=2)
    state = State.allocate(config, 1, CPU, torch.float32)
    state.count.fill_(5)
    state.position.fill_(5)
    state.tail.fill_(5)
    yes, no, number = torch.tensor([True]), torch.tensor([False]), torch.tensor([0])
    memory = state.gather(Rows(number, yes, no, no, number, number, number))
    assert (memory.count.tolist(), memory.position.tolist()) == ([5], [0])
    assert not memory.tail.any()
