"""Word error rate over many texts. It does not know where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

from bench.text import normalize


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Errors against ``words`` spoken words; ``percent`` is the word error rate."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def percent(self) -> float:
        """100 * (substitutions + deletions + insertions) / words: over all words, not a mean over files."""
        return 100 * (self.substitutions + self.deletions + self.insertions) / self.words


def score(references: Sequence[str], heard: Sequence[str]) -> WordErrors:
    """Count the errors of ``heard`` against ``references``, file by file, after ``normalize``."""
    assert len(references) == len(heard)
    pairs = [(normalize(reference), normalize(text)) for reference, text in zip(references, heard, strict=True)]
    pairs = [pair for pair in pairs if pair[0]]  # what was said is unknown where nothing is written down
    result = jiwer.process_words([reference for reference, _ in pairs], [text for _, text in pairs])
    words = result.hits + result.substitutions + result.deletions
    return WordErrors(words, result.substitutions, result.deletions, result.insertions)
