"""Random checkpoints of the streaming transducer, of full size or tiny, that speak about as much as a real one.

Written as transformers saves them, without needing it. Random weights alone emit nothing, or everything at once: their
labels come in bursts of as many as a frame may have, which no trained model does. So a few units are set by hand. One
unit of the predictor remembers a sign, which most labels turn; a label comes where the frame's own unit is far enough
on the side of that sign, and the next one when it has crossed over. How far is settled by the bias of the blank, for
which the wanted number of labels comes. All else stays random; the weights are good for measuring speed alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models
from torch import Tensor

from bench.speech import Speech
from stream_server.engine.fastconformer.checkpoint import load_into
from stream_server.engine.fastconformer.configuration import PROMPTED, read_config
from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.fastconformer.state import Rows, State
from stream_server.engine.fastconformer.transducer import GreedySearch, SearchState
from stream_server.engine.work import SAMPLE_RATE

FULL: Final[dict[str, Any]] = {
    "encoder": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 8,
        "intermediate_size": 4096,
        "num_mel_bins": 128,
        "subsampling_conv_channels": 256,
    },
    "decoder_hidden_size": 640,
    "prompt_intermediate_size": 2048,
    "num_prompts": 128,
}
TINY: Final[dict[str, Any]] = {
    "encoder": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "num_mel_bins": 16,
        "subsampling_conv_channels": 8,
    },
    "decoder_hidden_size": 24,
    "prompt_intermediate_size": 40,
    "num_prompts": 128,
}
SIZES: Final = {"random": FULL, "tiny": TINY}
VOCABULARY: Final = {"nemotron_asr_streaming": 1025, PROMPTED: 13088}  # the blank, which is last, included
LEFT: Final = {"nemotron_asr_streaming": 70, PROMPTED: 56}  # frames
LOOKAHEADS: Final = (0, 1, 6, 13)
STAYING: Final = 8
"""One label in so many does not turn the sign, and is followed by one more at the same frame."""
_LOGIT_DEVIATION: Final = 0.5
_GATE: Final = 16.0  # logits of the blank for a deviation of the frame's unit; also beyond what that unit reaches
_TURN: Final = 8.0  # logits of a label whose turn it is, more than of one whose turn it is not
_BRANCH: Final = 0.1
_BRANCH_ENDS: Final = ("linear2", "o_proj", "pointwise_conv2")
_PIECES: Final = tuple(onset + nucleus for onset, nucleus in product("bdfghklmnprstvwz", "aeiou"))
_CALIBRATION_SEC: Final = 10.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bias of the blank, what it gave on the audio it was searched on, and of how many frames more than one, two
    or three labels came (shares): how often a frame brings several decides how long searches are.
    """

    blank_bias: float
    tokens_per_sec: float
    more_than: tuple[float, float, float]


def make_checkpoint(
    folder: Path, size: str, family: str, speech: Speech, tokens_per_sec: float, device: str
) -> Calibration:
    """Write a checkpoint of a size of ``SIZES``: bfloat16 if made on a card, else float32.

    Raises:
        DeviceError: the device has no room for it.
    """
    write_configuration(folder, SIZES[size], family)
    config = read_config(folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device("meta"):
        model = FastConformer(config)
    random = torch.Generator(device).manual_seed(0)
    load_into(model, {name: _random(name, like, random, dtype) for name, like in model.state_dict().items()})
    model.prepare()
    with torch.inference_mode():
        calibration = _Calibrator(model, speech, random).run(tokens_per_sec)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return calibration


def write_configuration(folder: Path, size: dict[str, Any], family: str) -> None:
    """Write all files of a checkpoint but the weights; ``size`` is one of ``SIZES``."""
    vocabulary = VOCABULARY[family]
    prompted = family == PROMPTED
    encoder = {
        "model_type": "nemotron_asr_streaming_encoder",
        "hidden_act": "silu",
        "attention_bias": True,
        "convolution_bias": True,
        "conv_kernel_size": 9,
        "subsampling_factor": 8,
        "subsampling_conv_kernel_size": 3,
        "subsampling_conv_stride": 2,
        "scale_input": True,
        "sliding_window": LEFT[family] + 1,
        "default_num_lookahead_tokens": LOOKAHEADS[-1],
        **size["encoder"],
    }
    config: dict[str, Any] = {
        "model_type": family,
        "architectures": ["Nemotron3_5AsrForRNNT" if prompted else "NemotronAsrStreamingForRNNT"],
        "vocab_size": vocabulary,
        "blank_token_id": vocabulary - 1,
        "pad_token_id": 0,
        "decoder_hidden_size": size["decoder_hidden_size"],
        "num_decoder_layers": 2,
        "max_symbols_per_step": 10,
        "hidden_act": "relu",
        "is_encoder_decoder": True,
        "encoder_config": encoder,
    }
    extractor = {
        "feature_extractor_type": "NemotronAsrStreamingFeatureExtractor",
        "feature_size": size["encoder"]["num_mel_bins"],
        "sampling_rate": SAMPLE_RATE,
        "n_fft": 512,
        "win_length": 400,
        "hop_length": 160,
        "preemphasis": 0.97,
    }
    processor: dict[str, Any] = {
        "feature_extractor": extractor,
        "supported_num_lookahead_tokens": list(reversed(LOOKAHEADS)),
        "default_num_lookahead_tokens": LOOKAHEADS[-1],
    }
    if prompted:
        default = size["num_prompts"] - 1
        config |= {"num_prompts": size["num_prompts"], "default_prompt_id": default}
        config["prompt_intermediate_size"] = size["prompt_intermediate_size"]
        processor["prompt_dictionary"] = {"en-US": 0, "de-DE": 1, "auto": default}
    generation = {"decoder_start_token_id": vocabulary - 1, "pad_token_id": 0}
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (
        ("config.json", config),
        ("processor_config.json", processor),
        ("generation_config.json", generation),
    ):
        (folder / name).write_text(json.dumps(values, indent=2), encoding="utf-8")
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))


def _tokenizer(vocabulary: int) -> Tokenizer:
    """Syllables, every other one the beginning of a word, in the manner of SentencePiece; the blank is the last."""
    pieces = {"<unk>": 0}
    for length in range(1, 4):
        for syllables in product(_PIECES, repeat=length):
            for prefix in ("▁", ""):
                if len(pieces) < vocabulary - 1:
                    pieces[prefix + "".join(syllables)] = len(pieces)
    tokenizer = Tokenizer(models.BPE(pieces, [], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken("<blank>", special=True)])
    return tokenizer


def _random(name: str, like: Tensor, random: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Weights that keep the size of what goes through them; modules add little to the frames that pass by them, or
    all frames would be alike after so many layers.
    """
    mean, deviation = 0.0, 0.1
    if "embedding" in name:
        deviation = 1.0
    elif name.removesuffix(".weight").endswith(_BRANCH_ENDS):
        deviation = _BRANCH / math.sqrt(like[0].numel())
    elif like.dim() > 1:
        deviation = 1.0 / math.sqrt(like[0].numel())
    elif "norm" in name and name.endswith("weight"):
        mean = 1.0
    drawn = torch.empty(like.shape, dtype=torch.float32, device=random.device)
    return drawn.normal_(mean, deviation, generator=random).to(dtype)


class _Calibrator:
    """Sets the last layers of a model by what they make of some rows of speech."""

    def __init__(self, model: FastConformer, speech: Speech, random: torch.Generator) -> None:
        self._model = model
        self._speech = speech
        self._random = random
        self._device = model.encoder_projector.weight.device
        self._rows = 4 if self._device.type == "cpu" else 32

    def run(self, tokens_per_sec: float) -> Calibration:
        model, transducer = self._model, self._model.config.transducer
        self._standardize_subsampling()
        frames = _standardize(model.encoder_projector, self._encode())
        labels = self._predict(frames.shape[1])
        labels = _standardize(model.decoder.decoder_projector, labels)
        logits = model.joint(frames.flatten(0, 1), labels.flatten(0, 1))
        _standardize(model.joint.head, logits, _LOGIT_DEVIATION)
        _set_gate(model)
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
        hook = layer.register_forward_hook(lambda module, args, output: found.append(output))
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
            weight_in[gates[2], unit] = _GATE
    put_out = math.tanh(1.0)
    outputs, frames, head = model.decoder.decoder_projector, model.encoder_projector, model.joint.head
    # What the joint network sees: the frame's unit if the sign is positive, its opposite if it is negative; whether the
    # sign is positive, or negative; whether the last label has let it stay.
    outputs.weight[:5] = 0.0
    outputs.weight[:4, 0] = torch.tensor([_GATE, -_GATE, 1.0, -1.0], device=device) / put_out
    outputs.weight[4, 1] = 1.0 / put_out
    outputs.bias[:5] = torch.tensor([-_GATE, -_GATE, 0.0, 0.0, 0.0], device=device)
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
