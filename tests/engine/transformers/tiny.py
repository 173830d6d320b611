"""Tiny random checkpoints of whole-segment models, saved by transformers' own classes. Needs the gpu extra.

The weights are large enough that what comes out depends on the audio, and on every token before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    AddedToken,
    GenerationConfig,
    HubertConfig,
    HubertForCTC,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetForRNNT,
    ParakeetForTDT,
    ParakeetProcessor,
    ParakeetRNNTConfig,
    ParakeetTDTConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from stream_server.engine.work import SAMPLE_RATE, Audio
from tests.support.checkpoint import make_tokenizer

WINDOW_SEC = 4
LANGUAGES = ("en", "de", "jw")
LETTERS = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "subsampling_conv_channels": 8,
    "num_mel_bins": 16,
}


def noise(seconds: float, seed: int) -> Audio:
    """[n] float32 of changing loudness."""
    random = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    loudness = np.repeat(random.random(count // 800 + 1), 800)[:count]
    return np.asarray(0.3 * random.normal(0, 1, count) * loudness, np.float32)


def make_whisper(folder: Path, **overrides: Any) -> Path:
    """Whisper with a window of four seconds, three languages and every byte a token."""
    spelling = [chr(byte) for byte in LETTERS] + [chr(256 + place) for place in range(256 - len(LETTERS))]
    tokenizer = WhisperTokenizer(vocab={**{name: at for at, name in enumerate(spelling)}, "<|endoftext|>": 256})
    names = ["startoftranscript", *LANGUAGES, "translate", "transcribe", "startofprev", "nospeech", "notimestamps"]
    tokenizer.add_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    ids = {name: 257 + at for at, name in enumerate(names)}
    config = WhisperConfig(
        vocab_size=257 + len(names),
        num_mel_bins=16,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=50 * WINDOW_SEC,
        max_target_positions=64,
        tie_word_embeddings=False,  # or every token calls for itself
        decoder_start_token_id=ids["startoftranscript"],
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
        **overrides,
    )
    generation = GenerationConfig(
        decoder_start_token_id=ids["startoftranscript"],
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
        suppress_tokens=[0, 1, 2, 3],
        begin_suppress_tokens=[ord(letter) - 0x21 for letter in "abcdefghijklmnop"] + [256],
        no_timestamps_token_id=ids["notimestamps"],
        lang_to_id={f"<|{name}|>": ids[name] for name in LANGUAGES},
        task_to_id={"transcribe": ids["transcribe"], "translate": ids["translate"]},
        is_multilingual=True,
        alignment_heads=[[0, 1], [1, 2], [1, 3]],
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SEC)
    return _save(
        folder, lambda: WhisperForConditionalGeneration(config), WhisperProcessor(extractor, tokenizer), generation
    )


def make_moonshine(folder: Path) -> Path:
    """Moonshine, whose encoder looks at padding: its group norm goes over all of the time."""
    tokenizer = make_tokenizer()
    config = MoonshineConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=4,
        decoder_num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        pad_token_id=1,
    )
    generation = GenerationConfig(decoder_start_token_id=0, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True), tokenizer)
    return _save(folder, lambda: MoonshineForConditionalGeneration(config), processor, generation)


def make_parakeet(folder: Path, kind: str) -> Path:
    """Parakeet: ctc, rnnt or tdt."""
    tokenizer = make_tokenizer()
    blank = tokenizer.convert_tokens_to_ids("<blank>")
    search = {"blank_token_id": blank, "decoder_hidden_size": 24, "max_symbols_per_step": 5}
    model: Callable[[], PreTrainedModel]
    if kind == "ctc":
        config = ParakeetCTCConfig(encoder_config=_ENCODER, vocab_size=len(tokenizer), pad_token_id=blank)
        tokenizer.pad_token = "<blank>"
        model = lambda: ParakeetForCTC(config)  # noqa: E731
    elif kind == "rnnt":
        rnnt = ParakeetRNNTConfig(encoder_config=_ENCODER, vocab_size=len(tokenizer), pad_token_id=1, **search)
        model = lambda: ParakeetForRNNT(rnnt)  # noqa: E731
    else:
        tdt = ParakeetTDTConfig(encoder_config=_ENCODER, vocab_size=len(tokenizer), pad_token_id=1, **search)
        model = lambda: ParakeetForTDT(tdt)  # noqa: E731
    generation = GenerationConfig(decoder_start_token_id=blank, pad_token_id=1)
    processor = ParakeetProcessor(ParakeetFeatureExtractor(feature_size=16), tokenizer, decoder_type=kind)
    return _save(folder, model, processor, generation, blank)


def make_wav2vec2(folder: Path, kind: str = "wav2vec2", *, masked: bool = True) -> Path:
    """wav2vec 2.0 and its kin: with layer norm and a mask, or with a group norm over all of the time and none."""
    tokenizer = make_tokenizer()
    blank = tokenizer.convert_tokens_to_ids("<blank>")
    tokenizer.pad_token = "<blank>"
    config_class, model_class = {
        "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC),
        "hubert": (HubertConfig, HubertForCTC),
    }[kind]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer" if masked else "group",
        do_stable_layer_norm=masked,
        pad_token_id=blank,
    )
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked)
    return _save(folder, lambda: model_class(config), Wav2Vec2Processor(extractor, tokenizer), None)


def _save(
    folder: Path,
    make: Callable[[], PreTrainedModel],
    processor: Any,
    generation: GenerationConfig | None,
    blank: int | None = None,
) -> Path:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = make()
        for name, parameter in model.named_parameters():
            if "embed" in name:
                parameter.normal_()
            elif parameter.dim() > 1:
                parameter.normal_(std=1.5 / math.sqrt(parameter[0].numel()))
            elif "norm" not in name:
                parameter.normal_(std=0.1)
        if blank is not None and hasattr(model, "joint"):
            bias = model.joint.head.bias
            bias[blank] += 1.5
            bias[blank + 1 : blank + 2] -= 6.0  # no end of tokens that take no time: there the two part ways
    if generation is not None:
        model.generation_config = generation
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    transformers.logging.set_verbosity(verbosity)
    return folder
