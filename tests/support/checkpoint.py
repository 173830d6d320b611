"""Tiny random checkpoints of the streaming transducer, saved by transformers' own classes.

Needs the gpu extra. The weights are random but large enough that what comes out depends on the audio.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Nemotron3_5AsrConfig,
    Nemotron3_5AsrForRNNT,
    Nemotron3_5AsrProcessor,
    NemotronAsrStreamingConfig,
    NemotronAsrStreamingFeatureExtractor,
    NemotronAsrStreamingForRNNT,
    NemotronAsrStreamingProcessor,
    ParakeetTokenizer,
)

from stream_server.engine.work import SAMPLE_RATE

torch.set_num_threads(1)  # for tensors as small as these, threads only wait for each other

WORDS = ("the", "a", "to", "of", "in", "he", "she", "cat", "dog", "red", "one", "two")
LETTERS = "abcdefghijklmnopqrstuvwxyzABC01ä世界"
PUNCTUATION = ".,?!'"
BYTES = (0xC3, 0xA9, 0xE2, 0x82, 0xAC)
"""Of é and €, which are no pieces."""

LANGUAGE_TAGS = ("<en-US>", "<de-DE>", "<ja-JP>")
LANGUAGES = {"en-US": 0, "en": 0, "de-DE": 1, "de": 1, "ja-JP": 2, "auto": 3}

_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "subsampling_conv_channels": 8,
    "num_mel_bins": 16,
    "conv_kernel_size": 9,
    "sliding_window": 30,
    "default_num_lookahead_tokens": 13,
}


def make_tokenizer(family: str = "nemotron_asr_streaming") -> ParakeetTokenizer:
    """A tokenizer of the make that the checkpoints' converter writes: SentencePiece's BPE, then ``<blank>``."""
    tags = LANGUAGE_TAGS if family == "nemotron3_5_asr" else ()
    pieces = ["<unk>", "<pad>", *tags, *(f"<0x{byte:02X}>" for byte in BYTES), "▁", *LETTERS, *PUNCTUATION]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for end in range(1, len(word) + 1):
            merge = ("▁" + word[: end - 1], word[end - 1])
            if merge not in merges:
                merges.append(merge)
                pieces.append("".join(merge))
    backend = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate(pieces)},
            merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer = ParakeetTokenizer(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    tokenizer.add_tokens([AddedToken("<blank>", normalized=False, special=True)])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken(tag, normalized=False, special=True) for tag in tags]}
    )
    return tokenizer


def make_checkpoint(
    folder: Path,
    family: str = "nemotron_asr_streaming",
    *,
    seed: int = 0,
    blanks: float = 0.7,
    blank_bias: float | None = None,
    lookaheads: tuple[int, ...] = (13, 6, 1, 0),
    feature: dict[str, Any] | None = None,
    encoder: dict[str, Any] | None = None,
    **overrides: Any,
) -> Path:
    """Save a random model, its feature extractor and its tokenizer in ``folder``; what transformers loads back.

    ``blanks`` is the share of blanks among what the search decides on noise; ``blank_bias`` sets the joint's bias of
    the blank instead. ``feature``, ``encoder`` and ``overrides`` replace settings of the feature extractor, of the
    encoder and of the model's configuration.
    """
    prompted = family == "nemotron3_5_asr"
    tokenizer = make_tokenizer(family)
    sizes = {**_ENCODER, **(encoder or {})}
    extractor = NemotronAsrStreamingFeatureExtractor(feature_size=sizes["num_mel_bins"], **(feature or {}))
    blank = tokenizer.convert_tokens_to_ids("<blank>")
    settings: dict[str, Any] = {
        "vocab_size": blank + 1,
        "blank_token_id": blank,
        "pad_token_id": tokenizer.pad_token_id,
        "decoder_hidden_size": 24,
        "num_decoder_layers": 2,
        "max_symbols_per_step": 5,
        **overrides,
    }
    choices: dict[str, Any] = {"supported_num_lookahead_tokens": list(lookaheads)}
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Nemotron3_5AsrForRNNT | NemotronAsrStreamingForRNNT
        if prompted:
            sizes["model_type"] = "nemotron_asr_streaming_encoder"
            prompts = {"num_prompts": 4, "prompt_intermediate_size": 40, "default_prompt_id": LANGUAGES["auto"]}
            model = Nemotron3_5AsrForRNNT(Nemotron3_5AsrConfig(encoder_config=sizes, **{**prompts, **settings}))
            processor = Nemotron3_5AsrProcessor(
                extractor, tokenizer, prompt_dictionary=LANGUAGES, num_prompts=model.config.num_prompts, **choices
            )
        else:
            model = NemotronAsrStreamingForRNNT(NemotronAsrStreamingConfig(encoder_config=sizes, **settings))
            processor = NemotronAsrStreamingProcessor(extractor, tokenizer, **choices)
        _randomize(model, extractor, blanks)
    model.generation_config.decoder_start_token_id = blank
    if blank_bias is not None:
        with torch.no_grad():
            model.joint.head.bias[blank] = blank_bias
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    transformers.logging.set_verbosity(verbosity)
    return folder


@torch.no_grad()
def _randomize(model: Nemotron3_5AsrForRNNT | NemotronAsrStreamingForRNNT, extractor: Any, blanks: float) -> None:
    """Weights with which frames come out different from each other; with transformers' own they are all alike.

    Most of what an untrained network puts out does not depend on its input. The last layers of subsampling,
    encoder, predictor and joint network are set to take that part away, as measured on noise of changing loudness and
    random labels.
    """
    for name, parameter in model.named_parameters():
        if "embedding" in name:
            parameter.normal_()
        elif parameter.dim() > 1:
            parameter.normal_(std=1.0 / math.sqrt(parameter[0].numel()))
        elif "norm" in name and name.endswith("weight"):
            parameter.normal_(mean=1.0, std=0.1)
        else:
            parameter.normal_(std=0.1)
    audio = 0.1 * torch.randn(SAMPLE_RATE * 8) * torch.rand(80).repeat_interleave(SAMPLE_RATE // 10)
    inputs = extractor(audio.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    model.eval()
    embedded: list[torch.Tensor] = []
    embedder = model.encoder.subsampling.linear
    hook = embedder.register_forward_hook(lambda module, args, output: embedded.append(output[0]))
    model.get_audio_features(**inputs)
    hook.remove()
    _standardize(embedder, embedded[0])
    # The first frames are unlike all others, because of the zeros before them.
    frames = model.get_audio_features(**inputs, num_lookahead_tokens=0).pooler_output[0][10:]
    labels = model.decoder(torch.randint(model.config.vocab_size, (1, len(frames))))[0]
    frames = _standardize(model.encoder_projector, frames)
    labels = _standardize(model.decoder.decoder_projector, labels)
    _standardize(model.joint.head, model.joint(labels, frames))
    model.joint.head.weight.mul_(4.0)
    model.joint.head.bias.mul_(4.0)
    logits, blank = model.joint(labels, frames), model.config.blank_token_id
    scores = logits[:, blank].clone()
    logits[:, blank] = -torch.inf
    model.joint.head.bias[blank] += torch.quantile(logits.amax(dim=1) - scores, blanks)


def _standardize(layer: torch.nn.Linear, outputs: torch.Tensor) -> torch.Tensor:
    """Change the layer so that its outputs would have had mean 0 and deviation 1, over all but the last dimension."""
    mean, deviation = outputs.mean(dim=0), outputs.std(dim=0)
    layer.weight.div_(deviation[:, None])
    layer.bias.sub_(mean).div_(deviation)
    return (outputs - mean) / deviation
