"""Translation by a model of its own: Marian, M2M100 or NLLB checkpoints, run by transformers. Needs the gpu extra.

Which languages a checkpoint covers is read by `coverage`; how it searches, greedily or with beams, is what its own
generation config says. It knows nothing of transcripts, jobs or settings.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Final

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from stream_server.engine.device import require_gpu_extra
from stream_server.engine.hub import CONFIG, PATTERNS, CheckpointError, find_checkpoint, missing_files
from stream_server.jobs.error import JobError, Reason
from stream_server.text.coverage import TOKENS, Coverage, read_coverage

MAX_BATCH: Final = 16
MAX_BATCH_TOKENS: Final = 2048
"""Of the source, padding included: what bounds the memory of one step."""
MAX_SOURCE_TOKENS: Final = 200
"""Of one piece of text. Such models have learnt sentences, and leave out parts of what is much longer."""

_SPECIAL: Final = 4
"""Tokens besides the text: languages, beginning, end."""

PICKLED: Final = "pytorch_model*.bin"
"""Most translation checkpoints have no other weights. transformers has torch read tensors from them, never code."""

_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")


class Seq2SeqTranslator:
    """A loaded checkpoint. Safe to use from several threads, which take turns."""

    def __init__(self, model: Any, tokenizer: Any, coverage: Coverage) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._coverage = coverage
        self._lock = Lock()
        limits = (getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length)
        self._max_positions = min(limit for limit in limits if limit)
        self._max_piece = min(MAX_SOURCE_TOKENS, self._max_positions - _SPECIAL)
        model.generation_config.max_length = None  # the length allowed follows that of the source

    def translate(self, texts: list[str], source: str, target: str, report: Callable[[float], None]) -> list[str]:
        """One translation for each text, in order.

        Args:
            source: language code, or ``auto``, which only a model with one source language can do with.
            report: called with the share that is done, from 0 to 1. What it raises ends the work.

        Raises:
            JobError: FEATURE_UNAVAILABLE: the model does not cover the pair.
        """
        prefix, forced = self._direction(source, target)
        pieces = [(index, piece) for index, text in enumerate(texts) for piece in self._pieces(text)]
        lengths = [self._count(piece) for _, piece in pieces]
        made: list[str] = [""] * len(pieces)
        done = 0
        for batch in _batches(lengths):
            translated = self._step([prefix + pieces[at][1] for at in batch], source, forced)
            for at, text in zip(batch, translated, strict=True):
                made[at] = text
            done += len(batch)
            report(done / len(pieces))
        parts: list[list[str]] = [[] for _ in texts]
        for (index, _), text in zip(pieces, made, strict=True):
            parts[index].append(text)
        return [" ".join(filter(None, part)) for part in parts]

    def _direction(self, source: str, target: str) -> tuple[str, int | None]:
        """What is put before the text, and the token the answer must begin with."""
        coverage = self._coverage
        if (reason := coverage.lacks(source, target)) is not None:
            raise JobError(Reason.FEATURE_UNAVAILABLE, reason)
        if not coverage.tokens:
            return "", None
        token = TOKENS[coverage.family].format(coverage.target(target))
        if coverage.family == "marian":
            return f"{token} ", None
        if coverage.source(source) is None:
            raise JobError(
                Reason.FEATURE_UNAVAILABLE,
                "the translation model must be told which language is spoken: give it with the request",
            )
        return "", int(self._tokenizer.convert_tokens_to_ids(token))

    def _step(self, texts: list[str], source: str, forced: int | None) -> list[str]:
        with self._lock, torch.inference_mode():
            if forced is not None:
                self._tokenizer.src_lang = self._coverage.source(source)
            inputs = self._tokenizer(
                texts, padding=True, truncation=True, max_length=self._max_positions, return_tensors="pt"
            ).to(self._model.device)
            room = min(self._max_positions - 2, 3 * inputs["input_ids"].shape[1] + 20)
            first = {} if forced is None else {"forced_bos_token_id": forced}
            tokens = self._model.generate(**inputs, max_new_tokens=room, **first)
            # Not every tokenizer takes the tokens of languages for special ones, so they are left out here.
            made = tokens[:, 1 + len(first) :]
            return [text.strip() for text in self._tokenizer.batch_decode(made, skip_special_tokens=True)]

    def _pieces(self, text: str) -> Iterator[str]:
        """The text in parts short enough: as many sentences as fit, and a sentence cut in halves that does not."""
        held = ""
        for sentence in _SENTENCE_END.split(text):
            for part in self._halved(sentence.strip()):
                if held and self._count(f"{held} {part}") > self._max_piece:
                    yield held
                    held = part
                else:
                    held = f"{held} {part}".strip()
        if held:
            yield held

    def _halved(self, text: str) -> Iterator[str]:
        if self._count(text) <= self._max_piece or len(text) < 2:
            yield text
            return
        middle = len(text) // 2
        cut = text.rfind(" ", 1, middle + 1)
        cut = cut if cut > 0 else middle
        yield from self._halved(text[:cut].strip())
        yield from self._halved(text[cut:].strip())

    def _count(self, text: str) -> int:
        with self._lock:
            return len(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


def load_translator(name: str, device: str) -> Seq2SeqTranslator:
    """Load a checkpoint by folder or hub repository: float32 on a CPU, bfloat16 or float16 on a GPU.

    Raises:
        CheckpointError: it cannot be had or used, or is no translation model of a kind that is supported.
        DeviceError: a package that its tokenizer needs is missing.
    """
    folder = _find(name)
    coverage = read_coverage(folder)
    if coverage.family != "nllb":
        require_gpu_extra("sentencepiece")
    trusted = {"local_files_only": True, "trust_remote_code": False}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")  # Marian does without
            tokenizer = AutoTokenizer.from_pretrained(folder, **trusted)
        disable_progress_bar()  # type: ignore[no-untyped-call]  # it would be drawn amid the log lines
        model, report = AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=_dtype(device), output_loading_info=True, **trusted
        )
    except Exception as error:  # whatever the libraries under it raise for a damaged file: there is no common class
        raise CheckpointError(f"{folder}: cannot be loaded: {error}") from error
    finally:
        enable_progress_bar()  # type: ignore[no-untyped-call]
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{folder}: tensors are missing: {', '.join(missing[:3])}")
    if not coverage.targets:
        codes = tuple(getattr(tokenizer, "lang_code_to_id", ()))  # those that M2M100's tokenizer brings
        coverage = replace(coverage, sources=codes, targets=codes)
    return Seq2SeqTranslator(model.eval().to(device), tokenizer, coverage)


def _find(name: str) -> Path:
    """The checkpoint's folder. Safetensors are preferred: pickled weights are downloaded only where there are none."""
    patterns = (*PATTERNS, "*.spm")
    folder = find_checkpoint(name, patterns=patterns, missing=_lacks_config)
    return folder if not missing_files(folder) else find_checkpoint(name, patterns=(*patterns, PICKLED), missing=_lacks)


def _lacks_config(folder: Path) -> list[str]:
    return [] if (folder / CONFIG).is_file() else [CONFIG]


def _lacks(folder: Path) -> list[str]:
    return [] if any(folder.glob(PICKLED)) else missing_files(folder)


def _dtype(device: str) -> torch.dtype:
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Indexes of pieces of about one length, so that little is padding; the longest first, which show what fits."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: lengths[at], reverse=True):
        if batch and (len(batch) == MAX_BATCH or (len(batch) + 1) * lengths[batch[0]] > MAX_BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
