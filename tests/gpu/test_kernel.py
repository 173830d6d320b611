"""The kernels of the streaming transducer on a card, each against what torch makes of the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("triton", reason="Triton is not installed")

from torch import Tensor, nn
from torch.nn import functional

from stream_server.engine.fastconformer.attention import View
from stream_server.engine.fastconformer.configuration import (
    EncoderConfig,
    FastConformerConfig,
    FeatureConfig,
    TransducerConfig,
)
from stream_server.engine.fastconformer.encoder import Encoder
from stream_server.engine.fastconformer.feature import Spectrum
from stream_server.engine.fastconformer.kernel.encoder import FusedEncoder, FusedSubsampling
from stream_server.engine.fastconformer.kernel.norm import add_and_norm, add_and_norm_twice
from stream_server.engine.fastconformer.state import Rows, State, Update

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

DEVICE = torch.device("cuda:0")
SIZES = [
    pytest.param((torch.float32, 128, 30), id="float32"),
    pytest.param((torch.bfloat16, 1024, 70), id="bfloat16"),
    pytest.param((torch.float16, 1024, 56), id="float16"),
]
CHUNKS = [1, 2, 7, 14]
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.01}
"""Largest error as a part of what is right, both as lengths of vectors."""


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """float32 is float32, and nothing is learned."""
    settings = torch.backends.cudnn.conv
    before = settings.fp32_precision
    settings.fp32_precision = "ieee"
    torch.manual_seed(0)
    with torch.inference_mode():
        yield
    settings.fp32_precision = before


@pytest.fixture(params=SIZES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Two layers with random weights."""
    dtype, hidden, left = request.param
    config = EncoderConfig(
        hidden, 2, 8, 96, 9, left, (13, 6, 1, 0), 0, 80, 8, 64 if hidden > 128 else 8, 3, 2, True, True, True, "silu"
    )
    with DEVICE:
        made = Encoder(config)
    for name, parameter in made.named_parameters():
        if name.endswith(("bias_u", "bias_v")) or ".norm" in name:
            nn.init.normal_(parameter, float(name.endswith("weight")), 0.3)
    made.requires_grad_(False).to(dtype)
    for layer in made.layers:
        layer.self_attn.prepare()
    return made


def state_of(encoder: Encoder) -> State:
    """Slots that have heard nothing, a little, and more than they hold, and leftovers of others in all of them."""
    config = FastConformerConfig(
        model_type="nemotron_asr_streaming",
        feature=FeatureConfig(16000, 512, 400, 160, 80, 0.97, "float32"),
        encoder=encoder.config,
        transducer=TransducerConfig(33, 16, 2, 32, 10, "relu"),
        prompt=None,
    )
    state = State.allocate(config, 7, DEVICE, encoder.subsampling.linear.weight.dtype)
    state.attention.normal_()
    state.convolution.normal_()
    state.count.copy_(torch.tensor([0, 1, 5, 28, 70, 141, 1000, 3]))
    return state


def rows_of(chunk: int) -> Rows:
    """Whole and partial chunks, one that begins anew, one of nothing, and one that only fills up the batch."""
    slot = torch.tensor([5, 0, 3, 6, 2, 1, 4, 7], device=DEVICE)
    frames = torch.tensor([chunk, chunk, (chunk + 1) // 2, chunk, chunk, 0, chunk, 0], device=DEVICE)
    reset = torch.tensor([0, 0, 0, 0, 1, 0, 0, 1], device=DEVICE, dtype=torch.bool)
    return Rows(slot, reset, reset, ~reset, frames, frames, frames)


def spectrum_of(chunk: int, rows: Rows) -> Spectrum:
    """Segments that begin in the chunk, end in it, and do neither."""
    batch = len(rows.slot)
    mels = 8 * (chunk - 1) + 15
    start = torch.tensor([800, -14, 80, -14, 0, 8, 800, -14], device=DEVICE)
    length = start + 14 + 8 * rows.frames
    mel = torch.randn(batch, mels, 80, device=DEVICE)
    index = start[:, None] + torch.arange(mels, device=DEVICE)
    mel *= ((index >= 0) & (index < length[:, None]))[:, :, None]
    return Spectrum(mel, start, length, mel[:, 0])


def same(ours: Tensor, theirs: Tensor, rows: Rows | None = None) -> None:
    """Alike, in the valid frames of each row if ``rows`` are given."""
    tolerance = TOLERANCE[ours.dtype]
    if rows is not None:
        valid = torch.arange(ours.shape[1], device=DEVICE) < rows.frames[:, None]
        ours, theirs = ours[valid], theirs[valid]
    assert ours.isfinite().all()
    assert (ours.float() - theirs.float()).norm() <= tolerance * theirs.float().norm()


@pytest.mark.parametrize("chunk", CHUNKS)
def test_attention(encoder: Encoder, chunk: int) -> None:
    state, rows = state_of(encoder), rows_of(chunk)
    memory = state.gather(rows)
    module, fused = encoder.layers[1].self_attn, FusedEncoder(encoder).attention[1]
    inputs = torch.randn(len(rows.slot), chunk, encoder.config.hidden, device=DEVICE).to(state.attention.dtype)
    view = View.of(memory.count, rows.frames, chunk, encoder.config, inputs.dtype)
    expected = functional.linear(
        module(inputs, state.gather_ring(1, rows), view), module.o_proj.weight, module.output_bias
    )
    ours = fused(inputs, state.attention[1], memory, rows)
    assert ours.isfinite().all()  # of rows that yield nothing, too
    same(ours, expected, rows)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_convolution(encoder: Encoder, chunk: int) -> None:
    state, rows = state_of(encoder), rows_of(chunk)
    memory = state.gather(rows)
    module, fused = encoder.layers[1].conv, FusedEncoder(encoder).convolution[1]
    batch, past, size = len(rows.slot), encoder.config.kernel - 1, encoder.config.hidden
    inputs = torch.randn(batch, chunk, size, device=DEVICE).to(state.attention.dtype)
    windows = inputs.new_empty(2, batch, past + chunk, size)
    state.gather_convolution(rows, memory.count, out=windows[:, :, :past])
    last = module.pointwise_conv2
    expected = functional.linear(module(inputs, windows[1]), last.weight[:, :, 0], last.bias)
    fresh = torch.empty_like(inputs)
    same(fused(inputs, state.convolution[1], memory, rows, fresh), expected)
    same(fresh, windows[1, :, past:])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_subsampling(encoder: Encoder, chunk: int) -> None:
    rows = rows_of(chunk)
    spectrum = spectrum_of(chunk, rows)
    same(FusedSubsampling(encoder.subsampling)(spectrum), encoder.subsampling(spectrum), rows)


def test_norms(encoder: Encoder) -> None:
    layer = encoder.layers[0]
    first, second, size = layer.norm_out, layer.norm_conv, encoder.config.hidden
    hidden, branch = torch.randn(2, 5, 3, size, device=DEVICE).to(first.weight.dtype)
    added = hidden + 0.5 * branch
    kept = hidden.clone()
    same(add_and_norm(kept, branch, 0.5, first), first(added))
    same(kept, added)
    kept = hidden.clone()
    same(add_and_norm_twice(kept, branch, 0.5, first, second), second(first(added)))
    same(kept, first(added))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_encoder(encoder: Encoder, chunk: int) -> None:
    """A few chunks in a row, each with the memory of the ones before."""
    fused = FusedEncoder(encoder)
    plain_state = state_of(encoder)
    fused_state = state_of(encoder)
    for name in plain_state.__slots__:
        getattr(fused_state, name).copy_(getattr(plain_state, name))
    for step in range(3):
        rows = rows_of(chunk)
        if step:
            rows = replace(rows, reset=torch.zeros_like(rows.reset))
        spectrum = spectrum_of(chunk, rows)
        outputs = []
        for run, state in ((encoder, plain_state), (fused, fused_state)):
            memory = state.gather(rows)
            hidden, attention, convolution = run(spectrum, memory, rows, state)
            state.commit(rows, Update(attention, convolution, memory.count, memory.position, memory.tail))
            outputs.append(hidden)
        same(outputs[1], outputs[0], rows)
        assert torch.equal(fused_state.count, plain_state.count)
        streams = slice(0, plain_state.slots)
        same(fused_state.attention[:, streams], plain_state.attention[:, streams])
        same(fused_state.convolution[:, streams], plain_state.convolution[:, streams])
