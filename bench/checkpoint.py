"""Random checkpoints of the streaming transducer, of full size or tiny, that speak about as much as a real one.

Written as transformers saves them, without needing it. The weights are good for measuring speed, and for nothing else.
"""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models
from torch import Tensor

from bench.calibration import Calibration, Calibrator
from bench.speech import Speech
from stream_server.engine.fastconformer.checkpoint import load_into
from stream_server.engine.fastconformer.configuration import PROMPTED, read_config
from stream_server.engine.fastconformer.encoder import FastConformer
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
    "vocab_size": 257,
    "decoder_hidden_size": 24,
    "prompt_intermediate_size": 40,
    "num_prompts": 128,
}
SIZES: Final = {"random": FULL, "tiny": TINY}
VOCABULARY: Final = {"nemotron_asr_streaming": 1025, PROMPTED: 13088}  # the blank, which is last, included
LEFT: Final = {"nemotron_asr_streaming": 70, PROMPTED: 56}  # frames
LOOKAHEADS: Final = (0, 1, 6, 13)
_BRANCH: Final = 0.1
_BRANCH_ENDS: Final = ("linear2", "o_proj", "pointwise_conv2")
_PIECES: Final = tuple(onset + nucleus for onset, nucleus in product("bdfghklmnprstvwz", "aeiou"))


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
    model.encoder.fused = None  # calibration looks between its parts
    with torch.inference_mode():
        calibration = Calibrator(model, speech, random).run(tokens_per_sec)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return calibration


def write_configuration(folder: Path, size: dict[str, Any], family: str) -> None:
    """Write all files of a checkpoint but the weights; ``size`` is one of ``SIZES``."""
    vocabulary = size.get("vocab_size", VOCABULARY[family])
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
