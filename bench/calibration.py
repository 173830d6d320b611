"""Makes random weights of a streaming transducer emit about as many labels as a trained one does, and as they come.

Random weights alone emit nothing, or everything at once: in bursts of as many labels as a frame may have, which no
trained model does, and other ones with each chunk size. So the last layers are scaled to what goes through them, and a
few units are set by hand. One unit of the predictor remembers a sign, which most labels turn; a label comes where the
frame's own unit is far enough on the side of that sign, and the next one when it has crossed over. How far is settled
by the bias of the blank, for which the wanted number of labels comes. All else stays random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bench.speech import Speech
from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.fastconformer.state import Rows, State
from stream_server.engine.fastconformer.transducer import GreedySearch, SearchState
from stream_server.engine.work import SAMPLE_RATE

STAYING: Final = 8
"""One label in so many does not turn the sign, and is followed by one more at the same frame."""
_LOGIT_DEVIATION: Final = 0.5
_FRAME_DEVIATION: Final = 0.1  # of all other units of a frame: most of which label comes depends on those before it
_GATE: Final = 16.0  # logits of the blank for a deviation of the frame's unit; opens and shuts gates of the predictor
_SHUT: Final = 64.0  # beyond what the frame's unit reaches
_TURN: Final = 8.0  # logits of a label whose turn it is, more than of one whose turn it is not
_CALIBRATION_SEC: Final = 10.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bias of the blank, what it gave on the audio it was searched on, and of how many frames more than one, two
    or three labels came (shares): how often a frame brings several decides how long searches are.
    """

    blank_bias: float
    tokens_per_sec: float
    more_than: tuple[float, float, float]


class Calibrator:
    """Sets the last layers of a model by what they make of some rows of speech. For use within inference mode."""

    def __init__(self, model: FastConformer, speech: Speech, random: torch.Generator) -> None:
        self._model = model
        self._speech = speech
        self._random = random
        self._device = model.encoder_projector.weight.device
        self._rows = 4 if self._device.type == "cpu" else 32

    def run(self, tokens_per_sec: float) -> Calibration:
        """Change the model so that about so many labels come."""
        model, transducer = self._model, self._model.config.transducer
        self._standardize_subsampling()
        frames = _standardize(model.encoder_projector, self._encode(), _FRAME_DEVIATION)
        labels = self._predict(frames.shape[1])
        labels = _standardize(model.decoder.decoder_projector, labels)
        logits = model.joint(frames.flatten(0, 1), labels.flatten(0, 1))
        _standardize(model.joint.head, logits, _LOGIT_DEVIATION)
        _set_gate(model)
        frames[..., 0] /= _FRAME_DEVIATION
        frames[..., 1], frames[..., 2:5] = -frames[..., 0], 0.0
        model.initial = model.decoder.initial()
        low, high = 0.0, 8 * _GATE
        for _ in range(14):
            bias = (low + high) / 2
            model.joint.head.bias[transducer.blank] = bias
            rate, more_than = self._search(frames, tokens_per_sec)
            low, high = (bias, high) if rate > tokens_per_sec else (low, bias)
        return Calibration(bias, rate, more_than)

    def _standardize_subsampling(self) -> None:
        """What the logarithms of energies have in common is more than what they differ by."""
        layer = self._model.encoder.subsampling.linear
        found: list[Tensor] = []
        hook = layer.register_forward_hook(lambda module, args, output: found.append(output.clone()))
        self._encode()
        hook.remove()
        _standardize(layer, torch.cat(found, dim=1))

    def _encode(self) -> Tensor:
        """[rows, frames, H]: what the joint network would be given of all rows, chunk by chunk."""
        model, device = self._model, self._device
        geometry = Geometry.of(model.config.feature, model.config.encoder)
        chunk, rows = max(model.chunks), self._rows
        state = State.allocate(model.config, rows, device, model.encoder_projector.weight.dtype)
        slot = torch.arange(rows, device=device)
        false, zero = torch.zeros_like(slot, dtype=torch.bool), torch.zeros_like(slot)
        encoded = []
        samples = geometry.chunk_samples(chunk)
        for index in range(math.ceil(_CALIBRATION_SEC * SAMPLE_RATE / samples)):
            begin = index * samples
            audio = torch.stack(
                [torch.from_numpy(self._speech.take(row, begin, samples).copy()) for row in range(rows)]
            ).to(device)
            first = false | (index == 0)
            if index == 0:
                audio[:, : geometry.lead_samples] = 0
            step = Rows(slot, first, first, false, zero + samples, zero + chunk, zero)
            output, update = model.encode(audio, step, state)
            model.commit(step, update, state)
            encoded.append(output)
        return torch.cat(encoded, dim=1)

    def _predict(self, count: int) -> Tensor:
        """[rows, count, H]: outputs of the predictor over random labels."""
        decoder, rows = self._model.decoder, self._rows
        state = decoder.initial()
        state = state.replaced(torch.zeros(rows, dtype=torch.bool, device=self._device), state)
        vocabulary = self._model.config.transducer.vocabulary
        outputs = []
        for _ in range(count):
            labels = torch.randint(vocabulary, (rows,), device=self._device, generator=self._random)
            state = decoder.step(labels, state)
            outputs.append(state.output)
        return torch.stack(outputs, dim=1)

    def _search(self, frames: Tensor, tokens_per_sec: float) -> tuple[float, tuple[float, float, float]]:
        """Tokens per second, and how many frames brought more than one, two and three of them. Ends early if they come
        much faster than they should.
        """
        model = self._model
        rows, count, _ = frames.shape
        zero = torch.zeros(rows, dtype=torch.int64, device=self._device)
        greedy = GreedySearch(model.decoder, model.joint, model.config.transducer)
        cursor = SearchState.begin(model.initial.replaced(zero != 0, model.initial), zero)
        per_frame = torch.zeros(rows, count, dtype=torch.int64, device=self._device)
        geometry = Geometry.of(model.config.feature, model.config.encoder)
        seconds = rows * count * geometry.frame_samples / SAMPLE_RATE
        unfinished = True
        enough = 3 * tokens_per_sec * seconds
        while unfinished and per_frame.sum() < enough:
            emissions, cursor = greedy(frames, zero + count, cursor, None, count)
            emitted = (emissions.tokens >= 0).long()
            per_frame.scatter_add_(1, emissions.at.long().clamp(max=count - 1), emitted)
            unfinished = bool(emissions.unfinished.any())
        rate = float(per_frame.sum()) / seconds
        one, two, three = (float((per_frame > limit).float().mean()) for limit in (1, 2, 3))
        return rate, (one, two, three)


def _set_gate(model: FastConformer) -> None:
    """Set the units by which a label turns the sign that the next one waits for, or once lets another one pass."""
    config = model.config.transducer
    device, size = model.joint.head.weight.device, config.hidden
    label = torch.arange(config.vocabulary, device=device)
    even = label % 2 == 0  # come where the sign is positive; the others where it is negative
    stays = label // 2 % STAYING == 0
    model.decoder.embedding.weight[:, 0] = torch.where(even == stays, 1.0, -1.0)
    model.decoder.embedding.weight[:, 1] = torch.where(stays, 1.0, -1.0)
    for weight_in, weight_past, bias_in, bias_past in model.decoder.lstm.all_weights:
        # Two units that hand on what is put in: input and output gate open, forget gate shut.
        for unit in (0, 1):
            gates = torch.arange(unit, 4 * size, size, device=device)  # input, forget, cell, output
            for tensor in (weight_in, weight_past, bias_in, bias_past):
                tensor[gates] = 0.0
            bias_in[gates] = torch.tensor([_GATE, -_GATE, 0.0, _GATE], device=device, dtype=bias_in.dtype)
            weight_in[2 * size + unit, unit] = _GATE
    put_out = math.tanh(1.0)
    outputs, frames, head = model.decoder.decoder_projector, model.encoder_projector, model.joint.head
    # What the joint network sees: the frame's unit if the sign is positive, its opposite if it is negative; whether the
    # sign is positive, or negative; whether the last label has let it stay.
    outputs.weight[:5] = 0.0
    outputs.weight[:4, 0] = torch.tensor([_SHUT, -_SHUT, 1.0, -1.0], device=device) / put_out
    outputs.weight[4, 1] = 1.0 / put_out
    outputs.bias[:5] = torch.tensor([-_SHUT, -_SHUT, 0.0, 0.0, 0.0], device=device)
    frames.weight[0], frames.bias[0] = frames.weight[0] / _FRAME_DEVIATION, frames.bias[0] / _FRAME_DEVIATION
    frames.weight[1], frames.bias[1] = -frames.weight[0], -frames.bias[0]
    frames.weight[2:5], frames.bias[2:5] = 0.0, 0.0
    head.weight[:, :2] = 0.0
    head.weight[:, 2] = torch.where(even, _TURN, 0.0)
    head.weight[:, 3] = torch.where(even, 0.0, _TURN)
    head.weight[:, 4] = torch.where(stays, -_TURN, 0.0)
    head.weight[config.blank] = 0.0
    head.weight[config.blank, :2] = -_GATE


def _standardize(layer: torch.nn.Linear, outputs: Tensor, deviation: float = 1.0) -> Tensor:
    """Change the layer so that ``outputs`` [..., n] would have had median 0 and this deviation; returns them so.

    By quantiles: a few frames are nothing like the others, those at the begin of a segment above all.
    """
    ordered = outputs.flatten(0, -2).float().sort(dim=0).values
    low, middle, high = (ordered[int(len(ordered) * share)] for share in (0.16, 0.5, 0.84))
    scale = deviation / ((high - low) / 2).clamp(min=1e-6)
    weight, bias = layer.weight.float() * scale[:, None], (layer.bias.float() - middle) * scale
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return ((outputs - middle) * scale).to(outputs.dtype)
