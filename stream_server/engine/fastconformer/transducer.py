"""The decoding half of the model: predictor, joint network and the greedy search over them, all on the device.

RNN transducer: Graves 2012, arXiv:1211.3711. In the search each row of the batch stands at a frame of its own (as in
Bataev et al. 2024, arXiv:2406.06220): an iteration evaluates the joint once per row, at the row's frame, and a row that
has reached its end idles. So an iteration costs the same whatever happens in it, nothing waits for the host, and a
fixed number of iterations can be captured into a CUDA graph. Knows no audio, no slots and no text.

Shapes: B rows, C frames per chunk, H hidden size of the transducer, L layers of the predictor, V labels with the blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from stream_server.engine.fastconformer.activation import ACTIVATIONS
from stream_server.engine.fastconformer.configuration import TransducerConfig
from stream_server.engine.fastconformer.keyterm import KeytermRows


@dataclass(frozen=True, slots=True)
class PredictorState:
    """What the predictor remembers of the labels so far.

    ``memory`` [2L + 1, B, H]: hidden of each layer, cell of each layer, output. In one tensor, because the search must
    choose between old and new state for every row in every iteration, and does so in one operation.
    """

    memory: Tensor

    @classmethod
    def pack(cls, hidden: Tensor, cell: Tensor, output: Tensor) -> Self:
        """From ``hidden`` and ``cell`` [L, B, H] and ``output`` [B, H]."""
        return cls(torch.cat([hidden, cell, output.unsqueeze(0)]))

    @property
    def hidden(self) -> Tensor:
        """Of each layer, [L, B, H]."""
        return self.memory.narrow(0, 0, self._layers)

    @property
    def cell(self) -> Tensor:
        """Of each layer, [L, B, H]."""
        return self.memory.narrow(0, self._layers, self._layers)

    @property
    def output(self) -> Tensor:
        """What the joint network sees of the labels so far, [B, H]."""
        return self.memory.select(0, -1)

    @property
    def _layers(self) -> int:
        return self.memory.shape[0] // 2

    def replaced(self, rows: Tensor, other: PredictorState) -> PredictorState:
        """This state, but that of ``other`` (B rows, or one for all) in the ``rows`` [B] bool."""
        return PredictorState(torch.where(rows.unsqueeze(1), other.memory, self.memory))


class Predictor(nn.Module):
    """The prediction network: an LSTM over the labels emitted so far. Parameters are named as in the checkpoint."""

    def __init__(self, config: TransducerConfig) -> None:
        super().__init__()
        self._blank = config.blank
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        # Holds the weights only; see `step`.
        self.lstm = nn.LSTM(config.hidden, config.hidden, config.layers)
        self.decoder_projector = nn.Linear(config.hidden, config.hidden)

    @torch.no_grad()
    def initial(self) -> PredictorState:
        """The state in which an utterance begins, for one row: the blank has been fed to a zero state."""
        weight = self.embedding.weight
        zero = weight.new_zeros(2 * self.lstm.num_layers + 1, 1, self.lstm.hidden_size)
        return self.step(torch.full((1,), self._blank, device=weight.device), PredictorState(zero))

    def step(self, labels: Tensor, state: PredictorState) -> PredictorState:
        """Feed one label, ``labels`` [B] int64, to every row."""
        # Cell by cell: on CUDA that is three kernels a layer, where the sequence kernels of an LSTM prepare for more.
        hidden, cell = [], []
        layer = self.embedding(labels)
        for weights, old_hidden, old_cell in zip(
            self.lstm.all_weights, state.hidden.unbind(), state.cell.unbind(), strict=True
        ):
            layer, new_cell = torch.lstm_cell(layer, (old_hidden, old_cell), *weights)
            hidden.append(layer)
            cell.append(new_cell)
        return PredictorState(torch.stack([*hidden, *cell, self.decoder_projector(layer)]))


class Joint(nn.Module):
    """Joins a frame and the labels so far into scores of the next label. Parameters are named as in the checkpoint."""

    def __init__(self, config: TransducerConfig) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[config.activation]
        self.head = nn.Linear(config.hidden, config.vocabulary)

    def forward(self, encoded: Tensor, output: Tensor) -> Tensor:
        """Logits [B, V] of projected frames ``encoded`` [B, H] and predictor outputs ``output`` [B, H]."""
        logits: Tensor = self.head(self._activation(encoded + output))
        return logits


@dataclass(frozen=True, slots=True)
class SearchState:
    """Where the search stands in each row.

    ``frame`` [B] int64: frame of the chunk; ``symbols`` [B] int64: labels emitted at that frame; ``node`` [B] int64:
    node of the row's keyterm automaton.
    """

    frame: Tensor
    symbols: Tensor
    predictor: PredictorState
    node: Tensor

    @classmethod
    def begin(cls, predictor: PredictorState, node: Tensor) -> Self:
        """At the first frame of a chunk."""
        return cls(torch.zeros_like(node), torch.zeros_like(node), predictor, node)


@dataclass(frozen=True, slots=True)
class Emissions:
    """What K iterations emitted, in order; most emit nothing.

    ``tokens`` [B, K] int32: the label, -1 where none; ``at`` [B, K] int32: its frame in the chunk; ``logprobs`` [B, K]
    float32: its log-probability by the model alone, without keyterms; both mean nothing where there is no label.
    ``unfinished`` [B] bool: frames are left, search on.
    """

    tokens: Tensor
    at: Tensor
    logprobs: Tensor
    unfinished: Tensor


class GreedySearch:
    """The best label each time; the blank, or ``max_symbols`` labels at a frame, lead to the next frame."""

    def __init__(self, predictor: Predictor, joint: Joint, config: TransducerConfig) -> None:
        self._predictor = predictor
        self._joint = joint
        self._blank = config.blank
        self._max_symbols = config.max_symbols

    @torch.no_grad()
    def __call__(
        self, encoded: Tensor, frames: Tensor, state: SearchState, keyterms: KeytermRows | None, iterations: int
    ) -> tuple[Emissions, SearchState]:
        """Search for ``iterations`` labels or blanks in every row.

        ``encoded`` [B, C, H]: a chunk of frames, projected to the transducer's size; ``frames`` [B] int64: how many of
        them are valid, 0 to C. To go on with rows that are unfinished, call again with the state returned: how the
        iterations are divided among calls makes no difference. C * (max_symbols + 1) of them always suffice.
        """
        batch, chunk, _ = encoded.shape
        # Frames are addressed in the batch laid out as one row, so that one index finds the current frame of each row.
        flat = encoded.flatten(0, 1)
        base = torch.arange(0, batch * chunk, chunk, device=encoded.device)
        position, end, last = base + state.frame, base + frames, base + (chunk - 1)
        symbols, predictor, node = state.symbols, state.predictor, state.node
        labels, emits, positions, logprobs = [], [], [], []
        for _ in range(iterations):
            active = position < end
            logits = self._joint(flat.index_select(0, torch.minimum(position, last)), predictor.output)
            best, label = logits.max(dim=1)
            emit = active & (label != self._blank)
            if keyterms is not None:
                label, reached = keyterms.choose(logits, best, label, node)
                node = torch.where(emit, reached, node)
            logprob = logits.log_softmax(dim=1, dtype=torch.float32).gather(1, label.unsqueeze(1))
            labels.append(label)
            emits.append(emit)
            positions.append(position)
            logprobs.append(logprob)
            # Modulo the limit: zero then means that the row is through with its frame, for either reason.
            symbols = (symbols + 1) * emit % self._max_symbols
            position = position + (active & (symbols == 0))
            predictor = predictor.replaced(emit, self._predictor.step(label, predictor))
        emissions = Emissions(
            tokens=torch.stack(labels, 1).masked_fill(torch.stack(emits, 1).logical_not(), -1).int(),
            at=(torch.stack(positions, 1) - base.unsqueeze(1)).int(),
            logprobs=torch.cat(logprobs, 1),
            unfinished=position < end,
        )
        return emissions, SearchState(position - base, symbols, predictor, node)
