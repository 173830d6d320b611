"""What stands before the text in a decoder: start token, language, task, key terms. Read from the checkpoint.

Whisper's decoder is told the language and the task by tokens, and text before it can favour words (arXiv:2212.04356,
section 2.3); other decoders only have a token to start with. Knows nothing of audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from stream_server.engine.hub import CheckpointError
from stream_server.engine.transformers.checkpoint import Checkpoint
from stream_server.engine.transformers.reading import AUTO

_RETIRED = {"jw": "jv", "iw": "he", "in": "id"}
"""Language codes that were withdrawn, and what BCP 47 has for them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """How to begin. ``language_tokens``: by tag; empty where the model knows one language or cannot be told.
    ``silence``: the token whose probability at the start is that nobody speaks, or None."""

    start: int
    languages: tuple[str, ...]
    language_tokens: Mapping[str, int] = field(default_factory=dict)
    task: tuple[int, ...] = ()
    silence: int | None = None
    before: int | None = None  # comes before text that is only there to be heeded
    keyterm_tokens: int = 0
    tokenizer: Any = None

    @classmethod
    def of(cls, checkpoint: Checkpoint, keyterm_tokens: int) -> Prompt:
        """The prompt of a checkpoint.

        Raises:
            CheckpointError: it does not say how its decoder begins.
        """
        generation = checkpoint.model.generation_config
        start = generation.decoder_start_token_id
        if start is None:
            start = getattr(checkpoint.config, "decoder_start_token_id", None)
        if start is None:
            raise CheckpointError(f"{checkpoint.name}: neither config has a decoder_start_token_id")
        if checkpoint.config.model_type != "whisper":
            return cls(start, checkpoint.languages)
        if getattr(generation, "is_multilingual", False) and not getattr(generation, "lang_to_id", None):
            raise CheckpointError(f"{checkpoint.name}: generation_config.json names no language tokens (lang_to_id)")
        tokens = {
            _RETIRED.get(code := name.strip("<|>"), code): token
            for name, token in (getattr(generation, "lang_to_id", None) or {}).items()
        }
        tasks = getattr(generation, "task_to_id", None) or {}
        task = [tasks["transcribe"]] if "transcribe" in tasks else []
        if (plain := getattr(generation, "no_timestamps_token_id", None)) is not None:
            task.append(plain)
        return cls(
            start,
            tuple(tokens) or checkpoint.languages or ("en",),  # only the English models have no language tokens
            tokens,
            tuple(task),
            _token(checkpoint, "<|nospeech|>", "<|nocaptions|>"),
            _token(checkpoint, "<|startofprev|>"),
            keyterm_tokens,
            checkpoint.tokenizer,
        )

    @property
    def listens(self) -> bool:
        """Whether the first step tells anything before the text."""
        return self.silence is not None or bool(self.language_tokens)

    @property
    def takes_keyterms(self) -> bool:
        return self.before is not None

    def hear(self, logits: torch.Tensor, asked: Sequence[str]) -> tuple[list[str], list[float]]:
        """Languages and probabilities of silence, from the ``logits`` [rows, vocabulary] after the start token.

        ``asked``: a tag for each row, or `AUTO` for the likeliest of those there are.
        """
        silences = [0.0] * len(asked)
        if self.silence is not None:
            silences = logits.softmax(-1)[:, self.silence].tolist()
        if not self.language_tokens:
            return [self.languages[0] if tag == AUTO else tag for tag in asked], silences
        tags = list(self.language_tokens)
        likeliest = logits[:, list(self.language_tokens.values())].argmax(-1).tolist()
        return [tags[best] if tag == AUTO else tag for tag, best in zip(asked, likeliest, strict=True)], silences

    def tokens(self, language: str, keyterms: Sequence[str]) -> list[int]:
        """All that stands before the text."""
        told = [self.language_tokens[language]] if language in self.language_tokens else []
        return [*self._keyterms(keyterms), self.start, *told, *self.task]

    def _keyterms(self, keyterms: Sequence[str]) -> list[int]:
        """Whole terms, as many as there is room for, as a sentence of its own: a list without an end invites more."""
        if self.before is None:
            return []
        fitting: list[int] = []
        for count in range(1, len(keyterms) + 1):
            text = f" {', '.join(term.strip() for term in keyterms[:count])}."
            tokens = self.tokenizer(text, add_special_tokens=False).input_ids
            if len(tokens) > self.keyterm_tokens:
                break
            fitting = [self.before, *tokens]
        return fitting


def _token(checkpoint: Checkpoint, *names: str) -> int | None:
    """The id of the first of these tokens that the vocabulary has."""
    vocabulary = checkpoint.tokenizer.get_vocab()
    return next((vocabulary[name] for name in names if name in vocabulary), None)
