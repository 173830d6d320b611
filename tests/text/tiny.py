"""Tiny random translation checkpoints, saved by transformers' own classes. Needs the gpu extra; see `make_pieces`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel, NllbTokenizer

torch.set_num_threads(1)  # for tensors as small as these, threads only wait for each other

SENTENCES = ("the cat sees the dog.", "a red dog and one cat!", "der Hund sieht die Katze?", "le chat voit le chien")
_SIZES: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "init_std": 0.7,
}


def make_pieces() -> tuple[bytes, list[str]]:
    """A SentencePiece model of a few sentences, and its pieces. Only this needs the package sentencepiece."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        num_threads=1,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return written.getvalue(), [processor.IdToPiece(index) for index in range(processor.GetPieceSize())][3:]


def make_marian(folder: Path, *, targets: tuple[str, ...] = (), beams: int = 1, **tokenizer: Any) -> Path:
    """Marian as its converter writes it: two SentencePiece models, one vocabulary, tokens for several targets."""
    model, pieces = make_pieces()
    tokens = ["</s>", "<unk>", *(f">>{code}<<" for code in targets), *pieces, "<pad>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.spm").write_bytes(model)
    (folder / "target.spm").write_bytes(model)
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    said = {"tokenizer_class": "MarianTokenizer", "model_max_length": 512, **tokenizer}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    pad = len(tokens) - 1
    config = MarianConfig(
        **_SIZES,
        vocab_size=len(tokens),
        max_position_embeddings=64,
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=0,
    )
    return _save(MarianMTModel, config, folder, num_beams=beams, bad_words_ids=[[pad]])


def make_m2m100(folder: Path) -> Path:
    """M2M100 with the tokenizer of transformers, which brings its hundred languages."""
    from transformers import M2M100Tokenizer

    model, pieces = make_pieces()
    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(folder)
    return _save(M2M100ForConditionalGeneration, _m2m100_config(len(tokens) + 108), folder)


def make_nllb(folder: Path) -> Path:
    """NLLB: the same network, with another tokenizer, which needs no sentencepiece."""
    letters = ["▁", *sorted(set("".join(SENTENCES)) - {" "})]
    vocabulary = {token: at for at, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    return _save(M2M100ForConditionalGeneration, _m2m100_config(len(tokenizer)), folder)


def _m2m100_config(vocabulary: int) -> M2M100Config:
    return M2M100Config(**_SIZES, vocab_size=vocabulary, max_position_embeddings=64)


def _save(network: Any, config: Any, folder: Path, **generation: Any) -> Path:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network(config)
        model.generation_config.update(max_length=40, **generation)
        model.save_pretrained(folder)
    transformers.logging.set_verbosity(verbosity)
    return folder
