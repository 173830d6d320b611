"""Keyterms: words and phrases that a caller wants favoured, scored inside the search, per slot.

A caller's phrases become an automaton on the host (Aho and Corasick 1975), flattened to a bounded list of edges, so
that those of many callers lie in one tensor and the search looks up a batch in a few operations. As in GPU phrase
boosting (TurboBias, Andrusenko et al. 2025, arXiv:2508.07014), **the model alone decides whether a label or the blank
comes, and keyterms only decide which label**. A bonus that could beat the blank would do so at every frame anew, until
words appear where nobody speaks; this way what can go wrong is one word for another.

- A bonus grows with the depth in the phrase: beginning one is often a mistake, going on with one seldom.
- Leaving a phrase half-way costs nothing: a greedy search cannot take back what it emitted, so there is no other path
  for a refund to favour.
- Of the ends of the text that begin a phrase the automaton follows the longest, and never loses the shorter ones.
- Confidence stays the model's: a bonus is not in the log-probabilities that the search reports.

Knows neither words nor vocabularies: phrases come as token sequences, one for each spelling.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_server.engine.fastconformer.configuration import TransducerConfig
from stream_server.engine.fastconformer.settings import KeytermSettings

ROOT = 0
"""The node at which no phrase has begun."""

_NOWHERE = -1


class KeytermLimitError(ValueError):
    """The phrases need more edges than a slot has room for."""


@dataclass(frozen=True, slots=True)
class KeytermEdge:
    """At ``source``, ``token`` leads to ``target`` and is favoured by ``bonus``. Edges of the root hold at any node."""

    source: int
    token: int
    target: int
    bonus: float


@dataclass(frozen=True, slots=True)
class KeytermAutomaton:
    """The phrases of one caller, deeper edges first: where two edges tie, the one that follows more text comes first.

    A token without an edge leads to the root.
    """

    edges: tuple[KeytermEdge, ...]

    @classmethod
    def build(cls, phrases: Sequence[Sequence[int]], settings: KeytermSettings) -> KeytermAutomaton:
        """From token sequences; empty ones and repetitions are ignored.

        Raises:
            KeytermLimitError: there are too many, or too long ones.
        """
        children: list[dict[int, int]] = [{}]
        depth = [0]
        for phrase in phrases:
            node = ROOT
            for token in phrase:
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    depth.append(depth[node] + 1)
                node = children[node][token]

        # The moves of a node are its children and, where they lack a token, those of its longest suffix that is a node
        # too. What is only a move of the root is left out: the root's edges hold everywhere.
        moves: list[dict[int, int]] = [{} for _ in children]
        suffix = [ROOT] * len(children)
        queue = deque([ROOT])
        while queue:
            node = queue.popleft()
            if node != ROOT:
                moves[node] = moves[suffix[node]] | children[node]
            for token, child in children[node].items():
                if node != ROOT:
                    suffix[child] = moves[suffix[node]].get(token, children[ROOT].get(token, ROOT))
                queue.append(child)
        moves[ROOT] = children[ROOT]

        edges = [
            KeytermEdge(node, token, target, settings.bonus_at(depth[target]))
            for node, of_node in enumerate(moves)
            for token, target in of_node.items()
        ]
        if len(edges) > settings.max_edges:
            raise KeytermLimitError(f"the keyterms need {len(edges)} edges, and there is room for {settings.max_edges}")
        return cls(tuple(sorted(edges, key=lambda edge: depth[edge.target], reverse=True)))


@dataclass(frozen=True, slots=True)
class KeytermRows:
    """The edges of a batch, E for each of B rows; what is not used of a row never matches.

    ``source`` and ``target`` [B, E] int32, ``token`` [B, E] int64, ``bonus`` [B, E] float32; ``anywhere`` [B, E]
    float32: the bonus of the root's edges, -inf at others.
    """

    source: Tensor
    token: Tensor
    target: Tensor
    bonus: Tensor
    anywhere: Tensor

    def choose(self, logits: Tensor, best: Tensor, label: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
        """The best label once keyterms are favoured, [B] int64, and the node that it leads to, [B] int32.

        ``logits`` [B, V], of which ``best`` [B] is the highest and ``label`` [B] its index, which must not be the blank
        where the answer is heeded; ``node`` [B]: where each row is. A row without keyterms gets its label back.
        """
        # No bonus is negative, so only the tokens of matching edges can beat the best label: V is never looked through
        # again. A best label that has an edge itself is among them, and ties with itself at least.
        bonus = torch.where(self.source == node.unsqueeze(1), self.bonus, self.anywhere)
        score, edge = (logits.gather(1, self.token) + bonus).max(dim=1, keepdim=True)
        favoured = score >= best.unsqueeze(1)
        chosen = torch.where(favoured, self.token.gather(1, edge), label.unsqueeze(1))
        # The root is zero.
        return chosen.squeeze(1), (self.target.gather(1, edge) * favoured).squeeze(1)


class KeytermTable:
    """The automata of all slots, on the device. Slots have no keyterms until they are written."""

    def __init__(self, settings: KeytermSettings, config: TransducerConfig, slots: int, device: torch.device) -> None:
        self._vocabulary = config.vocabulary
        self._blank = config.blank
        self._empty = _packed((), settings.max_edges)
        # [slots, 4, E] int32: source, token, target, and the bits of the float32 bonus; one copy writes a slot and one
        # operation gathers a batch.
        self._edges = torch.empty(slots, *self._empty.shape, dtype=torch.int32, device=device)
        self._edges.copy_(self._empty)

    @staticmethod
    def bytes_for(settings: KeytermSettings) -> int:
        """Bytes of one slot."""
        return _packed((), settings.max_edges).nbytes

    def write(self, slot: int, automaton: KeytermAutomaton | None) -> None:
        """Give the slot these keyterms, or none, in place of what it had.

        Its node must go to the root with it; one left over from before could misplace a bonus, no more.
        """
        edges = () if automaton is None else automaton.edges
        # An index out of range would bring down the device, not this caller.
        assert all(0 <= edge.token < self._vocabulary and edge.token != self._blank for edge in edges)
        self._edges[slot].copy_(_packed(edges, self._empty.shape[1]) if edges else self._empty)

    def rows(self, slot: Tensor) -> KeytermRows:
        """The edges of the slots ``slot`` [B] int64."""
        source, token, target, bits = self._edges.index_select(0, slot).unbind(1)
        bonus = bits.view(torch.float32)
        return KeytermRows(source, token.long(), target, bonus, bonus.masked_fill(source != ROOT, -math.inf))


def _packed(edges: Sequence[KeytermEdge], room: int) -> Tensor:
    """The edges as [4, room] int32."""
    packed = torch.zeros(4, room, dtype=torch.int32)
    packed[0] = _NOWHERE
    bonus = packed[3].view(torch.float32)
    bonus.fill_(-math.inf)
    if edges:
        count = len(edges)
        packed[:3, :count] = torch.tensor([[e.source, e.token, e.target] for e in edges], dtype=torch.int32).T
        bonus[:count] = torch.tensor([edge.bonus for edge in edges])
    return packed
