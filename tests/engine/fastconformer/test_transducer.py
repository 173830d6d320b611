"""Our greedy search against transformers' generate, and against itself divided in every way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from stream_server.engine.fastconformer.configuration import TransducerConfig, read_config
from stream_server.engine.fastconformer.keyterm import KeytermRows, KeytermSettings, KeytermTable
from stream_server.engine.fastconformer.transducer import (
    GreedySearch,
    Joint,
    Predictor,
    SearchState,
)
from tests.support.checkpoint import make_checkpoint

CLASSES = {
    "nemotron_asr_streaming": transformers.NemotronAsrStreamingForRNNT,
    "nemotron3_5_asr": transformers.Nemotron3_5AsrForRNNT,
}
TALKATIVE, USUAL, QUIET = 0.0, 0.6, 0.9
"""How often the blank is best."""
MODELS = [(family, blanks) for family in CLASSES for blanks in (TALKATIVE, USUAL, QUIET)]

Label = tuple[int, int]
"""A token and the frame it was emitted at."""


@dataclass(frozen=True)
class Pair:
    """The same weights in transformers and in our modules."""

    oracle: Any
    extractor: Any
    config: TransducerConfig
    predictor: Predictor
    joint: Joint

    @property
    def search(self) -> GreedySearch:
        return GreedySearch(self.predictor, self.joint, self.config)

    def encode(self, seconds: float, seed: int, lookahead: int) -> tuple[Any, Any]:
        """Features of noise of changing loudness, and the projected frames [T, H] that transformers makes of them."""
        generator = torch.Generator().manual_seed(seed)
        rate = self.extractor.sampling_rate
        loudness = 0.2 * torch.rand(int(seconds * 10) + 1, generator=generator).repeat_interleave(rate // 10)
        audio = torch.randn(int(seconds * rate), generator=generator) * loudness[: int(seconds * rate)]
        mel = self.extractor(audio.numpy(), sampling_rate=rate, return_tensors="pt").input_features
        with torch.no_grad():
            encoded = self.oracle.get_audio_features(input_features=mel, num_lookahead_tokens=lookahead)
        return mel, encoded.pooler_output[0]

    def batch(self, *seconds: float) -> tuple[Any, Any]:
        """Rows of these lengths, padded with NaN, which must not spread; and how many frames each has."""
        rows = [self.encode(length, seed, 1)[1] for seed, length in enumerate(seconds)]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("nan"))
        return padded, torch.tensor([len(row) for row in rows])

    def begin(self, rows: int) -> SearchState:
        return begin(self.predictor, rows)


def begin(predictor: Predictor, rows: int) -> SearchState:
    initial = predictor.initial()
    node = torch.zeros(rows, dtype=torch.int64, device=initial.memory.device)
    return SearchState.begin(type(initial)(initial.memory.expand(-1, rows, -1)), node)


@torch.no_grad()
def liven(pair: Pair, blanks: float) -> None:
    """Scale the projection so that frames differ from each other all along, and set the bias of the blank."""
    projector, head = pair.oracle.encoder_projector, pair.oracle.joint.head
    # The first frames are unlike all others, because of the zeros before them.
    frames = pair.encode(8.0, 99, 1)[1][10:]
    mean, deviation = frames.mean(0), frames.std(0)
    projector.weight.mul_(2.0 / deviation[:, None])
    projector.bias.sub_(mean).mul_(2.0 / deviation)
    labels = torch.randint(pair.config.vocabulary, (1, len(frames)), generator=torch.Generator().manual_seed(0))
    logits = pair.oracle.joint(pair.oracle.decoder(labels)[0], (frames - mean) * 2.0 / deviation)
    blank = logits[:, pair.config.blank].clone()
    logits[:, pair.config.blank] = -torch.inf
    lead = torch.quantile(logits.max(1).values - blank, blanks) if blanks else -100.0
    head.bias[pair.config.blank] += lead
    pair.joint.load_state_dict(pair.oracle.joint.state_dict())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float], Pair]:
    made = {}
    for family, blanks in MODELS:
        folder = make_checkpoint(tmp_path_factory.mktemp("checkpoint"), family, seed=3)
        oracle = CLASSES[family].from_pretrained(folder).eval()
        extractor = transformers.NemotronAsrStreamingFeatureExtractor.from_pretrained(folder)
        config = read_config(folder).transducer
        predictor, joint = Predictor(config), Joint(config)
        predictor.load_state_dict(oracle.decoder.state_dict())
        made[family, blanks] = Pair(oracle, extractor, config, predictor, joint)
        liven(made[family, blanks], blanks)
    return made


@pytest.fixture(params=MODELS, ids=str)
def pair(request: pytest.FixtureRequest, pairs: dict[tuple[str, float], Pair]) -> Pair:
    return pairs[request.param]


@pytest.fixture
def usual(pairs: dict[tuple[str, float], Pair]) -> Pair:
    return pairs["nemotron3_5_asr", USUAL]


def generated(pair: Pair, mel: Any, lookahead: int, frames: int) -> list[Label]:
    room = frames * (pair.config.max_symbols + 1)
    output = pair.oracle.generate(input_features=mel, num_lookahead_tokens=lookahead, max_new_tokens=room)
    # The frame of a label is what was advanced before it.
    at = output.durations[0].cumsum(0) - output.durations[0]
    labels = zip(output.sequences[0, 1:].tolist(), at[1:].tolist(), strict=True)
    return [(token, frame) for token, frame in labels if token != pair.config.blank]


def read(emissions: Any, row: int, first: int = 0) -> list[Label]:
    pairs = zip(emissions.tokens[row].tolist(), emissions.at[row].tolist(), strict=True)
    return [(token, first + frame) for token, frame in pairs if token >= 0]


def searched(pair: Pair, encoded: Any, chunk: int) -> list[Label]:
    """One row, in chunks, the last one padded."""
    state, labels = pair.begin(1), []
    for first in range(0, len(encoded), chunk):
        part = encoded[first : first + chunk]
        padded = torch.cat([part, torch.full((chunk - len(part), part.shape[1]), float("nan"))])
        state = SearchState.begin(state.predictor, state.node)
        sure = len(part) * (pair.config.max_symbols + 1)
        emissions, state = pair.search(padded[None], torch.tensor([len(part)]), state, None, sure)
        assert not emissions.unfinished.any()
        labels += read(emissions, 0, first)
    return labels


def equal(one: SearchState, other: SearchState) -> bool:
    return (
        torch.equal(one.frame, other.frame)
        and torch.equal(one.symbols, other.symbols)
        and torch.equal(one.predictor.memory, other.predictor.memory)
        and torch.equal(one.node, other.node)
    )


@pytest.mark.parametrize(("lookahead", "chunk"), [(0, 1), (1, 2), (6, 7), (13, 14), (13, 52)])
def test_tokens_and_frames_equal_transformers(pair: Pair, lookahead: int, chunk: int) -> None:
    emitted = 0
    for seed, seconds in enumerate((0.05, 0.3, 0.91, 1.6, 2.5, 4.0)):
        mel, encoded = pair.encode(seconds, seed, lookahead)
        expected = generated(pair, mel, lookahead, len(encoded))
        assert searched(pair, encoded, chunk) == expected
        emitted += len(expected)
    assert emitted > 0


def test_a_frame_has_at_most_max_symbols(pairs: dict[tuple[str, float], Pair]) -> None:
    pair = pairs["nemotron_asr_streaming", TALKATIVE]
    _, encoded = pair.encode(1.0, 0, 1)
    labels = searched(pair, encoded, 4)
    assert [frame for _, frame in labels] == [
        frame for frame in range(len(encoded)) for _ in range(pair.config.max_symbols)
    ]


@pytest.mark.parametrize("parts", [(1,) * 90, (7,) * 13, (30, 60), (89, 1)])
def test_iterations_may_be_divided(usual: Pair, parts: tuple[int, ...]) -> None:
    encoded, frames = usual.batch(1.0, 0.3, 0.6)
    search = usual.search
    whole, end = search(encoded, frames, usual.begin(3), None, sum(parts))
    state, pieces = usual.begin(3), []
    for part in parts:
        emissions, state = search(encoded, frames, state, None, part)
        pieces.append(emissions)
    assert torch.equal(torch.cat([piece.tokens for piece in pieces], 1), whole.tokens)
    assert torch.equal(torch.cat([piece.at for piece in pieces], 1), whole.at)
    logprobs = torch.cat([piece.logprobs for piece in pieces], 1)
    assert torch.equal(logprobs[whole.tokens >= 0], whole.logprobs[whole.tokens >= 0])
    assert torch.equal(pieces[-1].unfinished, whole.unfinished)
    assert equal(state, end)


def test_unfinished_until_every_frame_is_searched(usual: Pair) -> None:
    encoded, frames = usual.batch(1.0, 0.1)
    state, flags = usual.begin(2), []
    for _ in range(80):
        emissions, state = usual.search(encoded, frames, state, None, 1)
        assert torch.equal(emissions.unfinished, state.frame < frames)
        flags.append(emissions.unfinished.tolist())
    assert flags[0][0]
    assert flags[-1] == [False, False]
    assert flags == sorted(flags, reverse=True)


def test_batched_equals_alone(pair: Pair) -> None:
    lengths = (2.5, 0.05, 1.0, 4.0, 0.2, 0.6)
    encoded, frames = pair.batch(*lengths)
    sure = encoded.shape[1] * (pair.config.max_symbols + 1)
    emissions, state = pair.search(encoded, frames, pair.begin(len(lengths)), None, sure)
    for row, count in enumerate(frames.tolist()):
        alone, end = pair.search(encoded[row : row + 1, :count], frames[row : row + 1], pair.begin(1), None, sure)
        assert read(emissions, row) == read(alone, 0)
        some = alone.tokens[0] >= 0
        torch.testing.assert_close(emissions.logprobs[row][some], alone.logprobs[0][some], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(state.predictor.memory[:, row], end.predictor.memory[:, 0])


def test_a_row_without_frames_is_left_alone(usual: Pair) -> None:
    encoded, frames = usual.batch(1.0, 1.0, 1.0)
    _, begun = usual.search(encoded, frames, usual.begin(3), None, 40)
    state = SearchState.begin(begun.predictor, torch.tensor([0, 5, 0]))
    emissions, after = usual.search(encoded, torch.tensor([4, 0, 4]), state, None, 30)
    assert (emissions.tokens[1] == -1).all()
    assert not emissions.unfinished[1]
    assert torch.equal(after.predictor.memory[:, 1], state.predictor.memory[:, 1])
    assert (after.frame[1], after.symbols[1], after.node[1]) == (0, 0, 5)


def test_logprobs_are_those_of_the_model(pair: Pair) -> None:
    _, encoded = pair.encode(3.0, 5, 1)
    sure = len(encoded) * (pair.config.max_symbols + 1)
    emissions, _ = pair.search(encoded[None], torch.tensor([len(encoded)]), pair.begin(1), None, sure)
    some = emissions.tokens[0] >= 0
    tokens, at = emissions.tokens[0][some].long(), emissions.at[0][some].long()
    with torch.no_grad():
        # Every label at once: the predictor has seen the blank and the labels before.
        seen = torch.cat([torch.tensor([pair.config.blank]), tokens[:-1]])
        logits = pair.oracle.joint(pair.oracle.decoder(seen[None])[0], encoded[at])
    expected = logits.log_softmax(1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(emissions.logprobs[0][some], expected, rtol=1e-4, atol=1e-4)


def test_state_is_packed_and_replaced_by_row(usual: Pair) -> None:
    _, state = usual.search(*usual.batch(0.8, 0.8, 0.8), usual.begin(3), None, 60)
    predictor, initial = state.predictor, usual.predictor.initial()
    layers, hidden = usual.config.layers, usual.config.hidden
    assert predictor.hidden.shape == predictor.cell.shape == (layers, 3, hidden)
    assert predictor.output.shape == (3, hidden)
    again = type(predictor).pack(predictor.hidden, predictor.cell, predictor.output)
    assert torch.equal(again.memory, predictor.memory)
    replaced = predictor.replaced(torch.tensor([False, True, False]), initial)
    assert torch.equal(replaced.memory[:, 1:2], initial.memory)
    assert torch.equal(replaced.memory[:, ::2], predictor.memory[:, ::2])


def tiny(**changes: Any) -> TransducerConfig:
    sizes = {"vocabulary": 40, "hidden": 16, "layers": 2, "blank": 39, "max_symbols": 4, "activation": "relu"}
    return TransducerConfig(**{**sizes, **changes})


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "tanh"])
def test_activations_are_those_of_transformers(activation: str) -> None:
    joint = Joint(tiny(activation=activation))
    encoded, output = torch.randn(3, 16), torch.randn(3, 16)
    expected = joint.head(transformers.activations.ACT2FN[activation](encoded + output))
    torch.testing.assert_close(joint(encoded, output), expected)


@pytest.mark.parametrize("with_keyterms", [False, True])
def test_runs_in_bfloat16(with_keyterms: bool) -> None:
    torch.manual_seed(0)
    config = tiny(layers=1)
    predictor, joint = Predictor(config).bfloat16(), Joint(config).bfloat16()
    table = KeytermTable(KeytermSettings(), config, 3, torch.device("cpu"))
    keyterms = table.rows(torch.arange(3)) if with_keyterms else None
    encoded = torch.randn(3, 5, 16, dtype=torch.bfloat16) * 4
    search = GreedySearch(predictor, joint, config)
    emissions, state = search(encoded, torch.tensor([5, 0, 3]), begin(predictor, 3), keyterms, 30)
    assert not emissions.unfinished.any()
    assert (emissions.tokens >= 0).any()
    assert (emissions.tokens.dtype, emissions.at.dtype) == (torch.int32, torch.int32)
    assert emissions.logprobs.dtype == torch.float32
    assert (emissions.logprobs <= 0).all()
    assert state.predictor.memory.dtype == torch.bfloat16


class Kernels(TorchDispatchMode):
    """Counts what a CUDA device would be given to do; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.namespace == "aten" and not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("with_keyterms", "most"), [(False, 30), (True, 40)])
def test_a_cuda_graph_can_hold_the_search(with_keyterms: bool, most: int) -> None:
    """Tensors without data, on a pretended card: whatever needs a value on the host would raise."""
    config = tiny(vocabulary=13_088, hidden=640, blank=13_087)
    counts = []
    device = torch.device("cuda")
    with torch.device("meta"):
        predictor, joint = Predictor(config), Joint(config)
    with FakeTensorMode():
        for module in (predictor, joint):
            weights = {name: weight.shape for name, weight in module.named_parameters()}
            on_card = {name: torch.empty(s, dtype=torch.bfloat16, device=device) for name, s in weights.items()}
            module.load_state_dict(on_card, assign=True)
        search, state = GreedySearch(predictor, joint, config), begin(predictor, 8)
        frames = torch.zeros(8, dtype=torch.int64, device=device)
        encoded = torch.zeros(8, 14, 640, dtype=torch.bfloat16, device=device)
        whole = torch.empty(8, 32, dtype=torch.int32, device=device)
        scores = torch.empty(8, 32, device=device)
        keyterms = KeytermRows(whole, whole.long(), whole, scores, scores)
        for iterations in (2, 3):
            with Kernels() as kernels:
                emissions, after = search(encoded, frames, state, keyterms if with_keyterms else None, iterations)
            counts.append(kernels.count)
            assert emissions.tokens.shape == (8, iterations)
            assert after.predictor.memory.shape == (5, 8, 640)
            assert after.predictor.memory.device.type == "cuda"
    assert counts[1] - counts[0] <= most
