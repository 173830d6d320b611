"""Our encoder, chunk by chunk through the slots of a state, against transformers' over whole segments."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from torch._subclasses.fake_tensor import FakeTensorMode

from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.state import Rows, State
from tests.engine.fastconformer.oracle import (
    CASES,
    FAMILIES,
    Pair,
    Stream,
    cut,
    load_pair,
    make_ours,
    noise,
    run_alone,
    take_step,
)


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def snapshot(state: State) -> dict[str, torch.Tensor]:
    return {name: getattr(state, name).clone() for name in state.__slots__}


@pytest.mark.parametrize("family", FAMILIES)
def test_chunk_sizes_make_a_difference(family: str) -> None:
    """Else the tests below would not see that the wrong frames are attended to."""
    pair, audio = load_pair(family), noise(90_000)
    outputs = [pair.whole(audio, chunk) for chunk in pair.ours.chunks]
    for one, other in itertools.pairwise(outputs):
        assert (one - other).abs().max() > 0.05


@pytest.mark.parametrize(("family", "chunk"), CASES)
def test_chunks_equal_the_whole(family: str, chunk: int) -> None:
    pair = load_pair(family)
    size, lead = pair.geometry.frame_samples, pair.geometry.lead_samples
    edge = chunk * size - lead
    state = pair.state(2)
    for seed, samples in enumerate((1, 159, 160, 1999, edge - 1, edge, edge + 1, edge + 121, 3 * edge + 77, 100_001)):
        audio, prompt = noise(samples, seed), seed % pair.prompts
        same(run_alone(pair, state, audio, chunk, slot=seed % 2, prompt=prompt), pair.whole(audio, chunk, prompt))


@pytest.mark.parametrize(("family", "chunk"), CASES)
def test_chunks_equal_the_chunks_of_transformers(family: str, chunk: int) -> None:
    pair = load_pair(family)
    factor = pair.geometry.factor
    audio = noise(70_000)
    mel = pair.mel(audio)[0]
    theirs: list[torch.Tensor] = []
    caches: dict[str, Any] = {"past_key_values": None, "padding_cache": None}
    begin, end = 0, 1 + factor * (chunk - 1)
    while end <= mel.shape[1]:
        out = pair.project(mel[:, begin:end], chunk, use_cache=True, **caches)
        caches = {"past_key_values": out.past_key_values, "padding_cache": out.padding_cache}
        theirs.append(out.pooler_output[0])
        begin, end = end, end + factor * chunk
    expected = torch.cat(theirs)
    ours = run_alone(pair, pair.state(1), audio, chunk)
    assert len(expected) > 40
    same(ours[: len(expected)], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_streams_join_and_leave(family: str) -> None:
    """Segments of all chunk sizes, in random slots, in batches of random order and company: each as if alone."""
    pair, rng = load_pair(family), random.Random(5)
    chunks = pair.ours.chunks
    state = pair.state(5)
    free, waiting, running, done = list(range(5)), list(range(16)), [], []
    while waiting or running:
        while waiting and free and rng.random() < 0.6:
            seed = waiting.pop()
            samples = rng.choice([300, 5_000, 20_000, 45_000]) + rng.randrange(3000)
            audio, chunk = noise(samples, seed), rng.choice(chunks)
            rng.shuffle(free)
            stream = Stream(free.pop(), list(cut(audio, chunk, pair.geometry)), prompt=seed % pair.prompts)
            running.append((stream, audio, chunk))
        chunk = rng.choice(chunks)
        ready = [stream for stream, _, size in running if size == chunk and rng.random() < 0.8]
        if ready:
            rng.shuffle(ready)
            take_step(pair.ours, state, ready, padding=rng.randrange(3))
        for entry in [entry for entry in running if not entry[0].chunks]:
            running.remove(entry)
            free.append(entry[0].slot)
            done.append(entry)
    assert len(done) == 16
    assert all(tensor.isfinite().all() for tensor in snapshot(state).values())
    for stream, audio, chunk in done:
        same(stream.frames, pair.whole(audio, chunk, stream.prompt))


def test_other_slots_keep_their_memory() -> None:
    pair = load_pair(FAMILIES[0])
    state = pair.state(4)
    before = snapshot(state)
    stream = Stream(2, list(cut(noise(30_000), 7, pair.geometry)))
    while stream.chunks:
        take_step(pair.ours, state, [stream], padding=3)
    for name, tensor in before.items():
        axis = 0 if tensor.dim() < 3 else 1
        kept = torch.tensor([0, 1, 3])
        assert torch.equal(getattr(state, name).index_select(axis, kept), tensor.index_select(axis, kept)), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", [30_000, 11_111, 1_500])
def test_a_segment_that_goes_on_remembers(family: str, first: int) -> None:
    """Without a reset the front end begins anew, and the encoder goes on with the frames it has."""
    pair = load_pair(family)
    audios = noise(first, 1), noise(25_000, 2)
    for chunk in pair.ours.chunks:
        state = pair.state(1)
        ours = [run_alone(pair, state, audio, chunk, reset=index == 0) for index, audio in enumerate(audios)]
        expected = encode_in_a_row(pair, list(audios), chunk)
        same(torch.cat(ours), expected)
        alone = pair.whole(audios[1], chunk)
        assert (ours[1] - alone).abs().max() > 0.01


def encode_in_a_row(pair: Pair, audios: list[torch.Tensor], chunk: int) -> torch.Tensor:
    """Projected frames of segments that go on, by transformers' layers with a mask written out frame by frame."""
    encoder = pair.oracle.encoder
    embedded, begins = [], []  # begins: for each frame, where its chunk begins
    with torch.no_grad():
        for audio in audios:
            mel, mask = pair.mel(audio)
            count = pair.geometry.count_frames(len(audio))
            offset = len(begins)
            embedded.append(encoder.subsampling(mel, mask)[:, :count] * encoder.input_scale)
            begins += [offset + frame // chunk * chunk for frame in range(count)]
        hidden = torch.cat(embedded, dim=1)
        reach = pair.config.encoder.left // chunk * chunk
        seen = [[begin - reach <= key and begins[key] <= begin for key in range(len(begins))] for begin in begins]
        for layer in encoder.layers:
            hidden = layer(
                hidden,
                attention_mask=torch.tensor(seen)[None, None],
                position_embeddings=encoder.encode_positions(hidden),
            )
        if pair.config.prompt is not None:
            prompt = torch.zeros(1, hidden.shape[1], pair.config.prompt.count)
            prompt[:, :, 0] = 1
            hidden = pair.oracle.prompt_projector(torch.cat((hidden, prompt), dim=2))
        projected: torch.Tensor = pair.oracle.encoder_projector(hidden)[0]
        return projected


def test_a_step_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = load_pair(FAMILIES[0])
    state = pair.state(3)
    streams = [Stream(slot, list(cut(noise(40_000, slot), 2, pair.geometry))) for slot in (1, 2)]
    for _ in range(3):
        take_step(pair.ours, state, streams)
    before, again = snapshot(state), [stream.chunks[0] for stream in streams]

    def fail(inputs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(pair.ours.encoder_projector, "forward", fail)
        with pytest.raises(torch.OutOfMemoryError):
            take_step(pair.ours, state, streams)
    for name, tensor in before.items():
        assert torch.equal(getattr(state, name), tensor), name
    for stream, chunk in zip(streams, again, strict=True):
        stream.chunks.insert(0, chunk)
    while streams[0].chunks:
        take_step(pair.ours, state, streams)
    for slot, stream in enumerate(streams, start=1):
        same(stream.frames, pair.whole(noise(40_000, slot), 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_close(family: str) -> None:
    pair, audio = load_pair(family), noise(60_000)
    model = make_ours(pair.config, pair.oracle, torch.bfloat16)
    assert model.features.filters.dtype == torch.float32
    for chunk in model.chunks:
        state = pair.state(2, torch.bfloat16)
        stream = Stream(1, list(cut(audio, chunk, pair.geometry)))
        while stream.chunks:
            take_step(model, state, [stream], padding=1)
        expected = pair.whole(audio, chunk)
        assert stream.frames.dtype == torch.bfloat16
        assert (stream.frames.float() - expected).norm() < 0.1 * expected.norm()


def test_the_search_goes_on_or_begins_anew() -> None:
    pair = load_pair(FAMILIES[0])
    state = pair.state(3)
    flags = torch.tensor([True, False])
    number = torch.tensor([0, 0])
    rows = Rows(torch.tensor([2, 0]), flags, flags, ~flags, number, number, number)
    search = pair.ours.begin(rows, state)
    assert torch.equal(search.predictor.memory[:, :1], pair.ours.initial.memory)
    assert torch.equal(search.predictor.memory[:, 1], state.predictor[:, 0])
    assert search.node.tolist() == [0, int(state.node[0])]
    others = snapshot(state)
    pair.ours.remember(rows, search, state)
    assert torch.equal(state.predictor[:, 2], pair.ours.initial.memory[:, 0])
    assert torch.equal(state.predictor[:, [0, 1, 3]], others["predictor"][:, [0, 1, 3]])
    assert state.node[2] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_depends_on_the_data(family: str) -> None:
    """Tensors without data go through a whole step: no shape follows from data, and nothing asks the device for any."""
    config, batch = load_pair(family).config, 3
    with FakeTensorMode():
        model = FastConformer(config)
        model.prepare()
        state = State.allocate(config, 4, torch.device("cpu"), torch.float32)
        number, flag = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.bool)
        rows = Rows(number, flag, flag, flag, number, number, number)
        for chunk in model.chunks:
            encoded, update = model.encode(torch.zeros(batch, model.features.chunk_samples(chunk)), rows, state)
            model.commit(rows, update, state)
            model.remember(rows, model.begin(rows, state), state)
            assert encoded.shape == (batch, chunk, config.transducer.hidden)
