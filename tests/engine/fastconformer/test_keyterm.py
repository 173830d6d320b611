"""The keyterm automaton and its use in the search, each against a reference that does it the slow and obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from torch._subclasses.fake_tensor import FakeTensorMode

from stream_server.engine.fastconformer.configuration import TransducerConfig
from stream_server.engine.fastconformer.keyterm import (
    ROOT,
    KeytermAutomaton,
    KeytermLimitError,
    KeytermSettings,
    KeytermTable,
)
from stream_server.engine.fastconformer.transducer import (
    Emissions,
    GreedySearch,
    Joint,
    Predictor,
    PredictorState,
    SearchState,
)

CPU = torch.device("cpu")
SETTINGS = KeytermSettings(bonus=1.5, depth_scale=0.7, max_edges=64)
CONFIG = TransducerConfig(vocabulary=12, hidden=16, layers=2, blank=11, max_symbols=4, activation="relu")
FRAMES = 24
Phrases = Sequence[Sequence[int]]


def progress(phrases: Phrases, text: Sequence[int]) -> int:
    """How many tokens at the end of the text begin a phrase; the most there are."""
    ends = [tuple(text[start:]) for start in range(len(text) + 1)]
    return max(len(end) for end in ends if not end or any(tuple(phrase[: len(end)]) == end for phrase in phrases))


def bonuses(phrases: Phrases, text: Sequence[int], settings: KeytermSettings = SETTINGS) -> dict[int, float]:
    depths = {token: progress(phrases, [*text, token]) for phrase in phrases for token in phrase}
    return {token: settings.bonus_at(depth) for token, depth in depths.items() if depth}


def matching(automaton: KeytermAutomaton, node: int) -> dict[int, tuple[float, int]]:
    """Bonus and target of each favoured token; of two edges the first in order counts."""
    found: dict[int, tuple[float, int]] = {}
    for edge in automaton.edges:
        if edge.source in (node, ROOT):
            found.setdefault(edge.token, (edge.bonus, edge.target))
    return found


tokens = st.integers(0, 3)
phrase_lists = st.lists(st.lists(tokens, max_size=5), max_size=5)


@given(phrase_lists, st.lists(tokens, max_size=12))
def test_automaton_equals_brute_force(phrases: list[list[int]], text: list[int]) -> None:
    automaton = KeytermAutomaton.build(phrases, KeytermSettings(bonus=1.5, depth_scale=0.7, max_edges=10_000))
    node = ROOT
    for position in range(len(text) + 1):
        favoured = matching(automaton, node)
        assert {token: bonus for token, (bonus, _) in favoured.items()} == bonuses(phrases, text[:position])
        if position < len(text):
            node = favoured.get(text[position], (0.0, ROOT))[1]


def test_beginnings_that_overlap_are_not_lost() -> None:
    automaton = KeytermAutomaton.build([[1, 2, 1, 3], [2, 1, 2, 4]], SETTINGS)
    node = ROOT
    for token in (1, 2, 1, 2):
        node = matching(automaton, node)[token][1]
    # 1 2 1 did not go on with 3, but its end 2 1 goes on with 2, and so to 4.
    assert matching(automaton, node)[4][0] == SETTINGS.bonus_at(4)


def test_repetitions_and_shared_beginnings_cost_no_edges() -> None:
    once = KeytermAutomaton.build([[1, 2, 3]], SETTINGS)
    assert KeytermAutomaton.build([[1, 2, 3], [1, 2], [], [1, 2, 3]], SETTINGS) == once
    assert len(once.edges) == 3
    assert KeytermAutomaton.build([[]], SETTINGS).edges == ()


def test_too_many_edges_are_refused_with_the_number() -> None:
    phrases = [[token, token + 1] for token in range(0, 80, 2)]
    with pytest.raises(KeytermLimitError, match="need 80 edges, and there is room for 64"):
        KeytermAutomaton.build(phrases, SETTINGS)
    assert len(KeytermAutomaton.build(phrases[:32], SETTINGS).edges) == 64


@pytest.mark.parametrize("wrong", [{"bonus": -1.0}, {"depth_scale": -0.1}, {"max_edges": 0}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keyterm settings"):
        KeytermSettings(**wrong)


def test_bonus_grows_with_depth() -> None:
    growing = [KeytermSettings().bonus_at(depth) for depth in range(1, 8)]
    assert growing == sorted(set(growing))
    assert growing[0] == KeytermSettings().bonus
    assert {KeytermSettings(bonus=2.0, depth_scale=0.0).bonus_at(depth) for depth in range(1, 8)} == {2.0}


@pytest.mark.parametrize("token", [CONFIG.blank, CONFIG.vocabulary, -1])
def test_a_token_outside_the_labels_never_reaches_the_device(token: int) -> None:
    table = KeytermTable(SETTINGS, CONFIG, 2, CPU)
    with pytest.raises(AssertionError):
        table.write(0, KeytermAutomaton.build([[token]], SETTINGS))


def test_a_slot_is_written_without_touching_others() -> None:
    full = KeytermAutomaton.build([[a, b, b] for a in range(4) for b in range(4, 9)], SETTINGS)
    settings = KeytermSettings(max_edges=len(full.edges))
    table = KeytermTable(settings, CONFIG, 3, CPU)
    assert KeytermTable.bytes_for(settings) == 16 * settings.max_edges
    slots = torch.tensor([0, 1, 2])
    empty = table.rows(slots)
    table.write(1, full)
    rows = table.rows(slots)
    assert rows.source[1].tolist() == [edge.source for edge in full.edges]
    assert rows.token[1].tolist() == [edge.token for edge in full.edges]
    assert rows.target[1].tolist() == [edge.target for edge in full.edges]
    torch.testing.assert_close(rows.bonus[1], torch.tensor([edge.bonus for edge in full.edges]))
    for one, other in zip(fields(rows), fields(empty), strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
    table.write(1, None)
    for one, other in zip(fields(table.rows(slots)), fields(empty), strict=True):
        assert torch.equal(one, other)


def test_rows_need_nothing_of_the_host() -> None:
    with FakeTensorMode():
        rows = KeytermTable(SETTINGS, CONFIG, 3, CPU).rows(torch.zeros(5, dtype=torch.int64))
    assert {tuple(field.shape) for field in fields(rows)} == {(5, SETTINGS.max_edges)}


def fields(rows: Any) -> tuple[Any, ...]:
    return rows.source, rows.token, rows.target, rows.bonus, rows.anywhere


@pytest.fixture(scope="module")
def model() -> tuple[Predictor, Joint]:
    """Random, with scores far enough apart that labels depend on frame and on text, and blanks come often."""
    generator = torch.Generator().manual_seed(11)
    predictor, joint = Predictor(CONFIG), Joint(CONFIG)
    with torch.no_grad():
        for parameter in [*predictor.parameters(), *joint.parameters()]:
            parameter.normal_(std=0.5, generator=generator)
        joint.head.bias[CONFIG.blank] = 2.5
    return predictor, joint


def encoded_rows(count: int) -> Any:
    return torch.randn(count, FRAMES, CONFIG.hidden, generator=torch.Generator().manual_seed(2))


def run(
    model: tuple[Predictor, Joint],
    encoded: Any,
    phrases: Sequence[Phrases | None],
    settings: KeytermSettings = SETTINGS,
    *,
    pieces: int = 1,
) -> tuple[Emissions, SearchState]:
    """Search a batch, each row with its phrases; with no ``phrases`` at all, without keyterms."""
    batch = len(encoded)
    predictor, joint = model
    table = KeytermTable(settings, CONFIG, batch, CPU)
    for slot, of_slot in enumerate(phrases):
        table.write(slot, None if of_slot is None else KeytermAutomaton.build(of_slot, settings))
    keyterms = table.rows(torch.arange(batch)) if phrases else None
    with torch.no_grad():
        initial = predictor.initial().memory.expand(-1, batch, -1)
    state = SearchState.begin(PredictorState(initial), torch.zeros(batch, dtype=torch.int64))
    frames = torch.full((batch,), FRAMES)
    sure = FRAMES * (CONFIG.max_symbols + 1)
    parts = []
    for _ in range(pieces):
        emissions, state = GreedySearch(predictor, joint, CONFIG)(encoded, frames, state, keyterms, sure // pieces)
        parts.append(emissions)
    together = [torch.cat([getattr(part, name) for part in parts], 1) for name in ("tokens", "at", "logprobs")]
    return Emissions(*together, parts[-1].unfinished), state


def text_of(emissions: Emissions, row: int) -> list[int]:
    return [token for token in emissions.tokens[row].tolist() if token >= 0]


@torch.no_grad()
def reference(model: tuple[Predictor, Joint], encoded: Any, phrases: Phrases, settings: KeytermSettings) -> list[int]:
    """One row, label by label, in Python."""
    predictor, joint = model
    state, text = predictor.initial(), list[int]()
    for frame in encoded:
        for _ in range(CONFIG.max_symbols):
            logits = joint(frame[None], state.output)[0]
            if int(logits.argmax()) == CONFIG.blank:
                break
            for token, bonus in bonuses(phrases, text, settings).items():
                logits[token] += bonus
            logits[CONFIG.blank] = -torch.inf
            text.append(int(logits.argmax()))
            state = predictor.step(torch.tensor(text[-1:]), state)
    return text


@torch.no_grad()
def runners_up(model: tuple[Predictor, Joint], encoded: Any, length: int) -> tuple[list[int], float]:
    """Taking the second best label ``length`` times from the start; and the widest gap to the best."""
    predictor, joint = model
    state, text, gap = predictor.initial(), list[int](), 0.0
    for frame in encoded:
        for _ in range(CONFIG.max_symbols):
            logits = joint(frame[None], state.output)[0]
            if int(logits.argmax()) == CONFIG.blank:
                break
            logits[CONFIG.blank] = -torch.inf
            scores, labels = logits.topk(2)
            text.append(int(labels[1]))
            gap = max(gap, float(scores[0] - scores[1]))
            if len(text) == length:
                return text, gap
            state = predictor.step(torch.tensor(text[-1:]), state)
    raise AssertionError("fewer labels than that")


def contains(text: Sequence[int], phrase: Sequence[int]) -> bool:
    return any(list(text[start : start + len(phrase)]) == list(phrase) for start in range(len(text)))


def test_search_equals_reference(model: tuple[Predictor, Joint]) -> None:
    generator = torch.Generator().manual_seed(4)

    def phrase() -> list[int]:
        length = int(torch.randint(1, 5, (1,), generator=generator))
        return torch.randint(0, CONFIG.blank, (length,), generator=generator).tolist()

    encoded = encoded_rows(8)
    changed = 0
    for bonus in (0.0, 0.5, 2.0, 8.0):
        settings = KeytermSettings(bonus=bonus, depth_scale=1.0, max_edges=200)
        phrases = [[phrase() for _ in range(row)] for row in range(8)]
        emissions, _ = run(model, encoded, phrases, settings)
        plain, _ = run(model, encoded, [])
        for row in range(8):
            assert text_of(emissions, row) == reference(model, encoded[row], phrases[row], settings)
            changed += text_of(emissions, row) != text_of(plain, row)
        if bonus == 0.0:
            assert changed == 0
    assert changed > 5


def test_a_planted_phrase_is_raised_and_other_streams_are_untouched(model: tuple[Predictor, Joint]) -> None:
    encoded = encoded_rows(4)
    planted, gap = runners_up(model, encoded[1], 3)
    plain, plain_end = run(model, encoded, [])
    assert not contains(text_of(plain, 1), planted)

    # Enough for the widest gap, and going on is worth more than beginning anew, whatever the gap.
    enough = KeytermSettings(bonus=gap * 1.01, depth_scale=3.0, max_edges=64)
    boosted, boosted_end = run(model, encoded, [None, [planted], None, [[9, 9, 9]]], enough)
    assert text_of(boosted, 1)[:3] == planted

    for row in (0, 2):
        assert torch.equal(boosted.tokens[row], plain.tokens[row])
        assert torch.equal(boosted.at[row], plain.at[row])
        assert torch.equal(boosted.logprobs[row], plain.logprobs[row])
        assert torch.equal(boosted_end.predictor.memory[:, row], plain_end.predictor.memory[:, row])
        assert boosted_end.node[row] == ROOT


def test_logprobs_know_nothing_of_keyterms(model: tuple[Predictor, Joint]) -> None:
    encoded = encoded_rows(1)
    planted, gap = runners_up(model, encoded[0], 1)
    plain, _ = run(model, encoded, [])
    boosted, _ = run(model, encoded, [[planted]], KeytermSettings(bonus=gap + 0.5))
    place = int((plain.tokens[0] >= 0).int().argmax())
    assert int(boosted.tokens[0, place]) == planted[0]
    torch.testing.assert_close(boosted.logprobs[0, place], plain.logprobs[0, place] - gap)


def test_the_blank_is_the_model_s_to_choose(model: tuple[Predictor, Joint]) -> None:
    """However strong the bonus, the first label comes where it came, and it is a keyterm's."""
    encoded = encoded_rows(8)
    plain, _ = run(model, encoded, [])
    boosted, _ = run(model, encoded, [[[5, 6, 7]]] * 8, KeytermSettings(bonus=1000.0))
    for row in range(8):
        first = int((plain.tokens[row] >= 0).int().argmax())
        assert first == int((boosted.tokens[row] >= 0).int().argmax())
        assert boosted.at[row, first] == plain.at[row, first]
        assert text_of(boosted, row)[0] == 5


def test_progress_in_a_phrase_outlives_the_call(model: tuple[Predictor, Joint]) -> None:
    encoded = encoded_rows(4)
    phrases = [[[1, 2, 3, 4], [2, 3, 5]], None, [[7, 8], [8, 7, 7]], [[0, 1, 0, 2]]]
    whole, end = run(model, encoded, phrases)
    pieces, end_of_pieces = run(model, encoded, phrases, pieces=FRAMES)
    assert torch.equal(whole.tokens, pieces.tokens)
    assert torch.equal(end.node, end_of_pieces.node)
