"""When a word of a growing hypothesis may be declared stable. Tokens in, a number of words out; no audio, no model.

A segment is decoded again and again while it grows. A word is committed once the last decodes agree on it and on
everything before it, and the model is sure of it; later decodes are then forced to keep it. The newest words are held
back: the model guesses at what the cut-off audio may become. Committing too early is what costs accuracy, so a doubtful
word waits longer. The figures behind the settings are in docs/decisions/003-stable-prefix.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Word = tuple[int, ...]
"""The tokens of one word, punctuation included."""


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """``agreement``: decodes that must agree. ``hold_back``: newest words that stay open. A word whose least likely
    token is below ``floor`` waits for ``patience`` agreeing decodes."""

    agreement: int = 2
    hold_back: int = 2
    floor: float = 0.8
    patience: int = 3


@dataclass(frozen=True, slots=True)
class Decode:
    """One decode of the segment: its words and the natural log-probability of the least likely token of each."""

    words: tuple[Word, ...]
    logprobs: tuple[float, ...]


def committed_words(history: Sequence[Decode], already: int, settings: CommitmentSettings) -> int:
    """How many words of the newest decode are stable now; never fewer than ``already``.

    ``history``: the decodes of the segment so far, oldest first; the last ``patience`` are enough.
    """
    if len(history) < settings.agreement:
        return already
    newest = history[-1]
    count = already
    while count < len(newest.words) - settings.hold_back:
        agreeing = _agreeing(history, count)
        doubtful = newest.logprobs[count] < math.log(settings.floor)
        if agreeing < (settings.patience if doubtful else settings.agreement):
            break
        count += 1
    return count


def _agreeing(history: Sequence[Decode], index: int) -> int:
    """How many of the newest decodes in a row have the newest one's word at ``index``."""
    word = history[-1].words[index]
    count = 0
    for decode in reversed(history):
        if len(decode.words) <= index or decode.words[index] != word:
            break
        count += 1
    return count
