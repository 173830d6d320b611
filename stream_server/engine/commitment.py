"""When a word of a growing hypothesis may be declared stable. Words in, a number of words out; no audio, no model.

A segment is decoded again and again while it grows. A word is committed once the evidence for it, and for everything
before it, is enough; later decodes are then forced to keep it. Each decode in a row that has the word in its place adds
the logarithm of how unlikely it is to be wrong: ``-log(1 - p)``, p being the probability of its least likely token. A
word that has been waiting since it was spoken needs less, so that one doubtful word does not hold up all that follow
it. The newest words are held back whatever their evidence: the model guesses at what the cut-off audio may become.

Committing too early is what costs accuracy; the figures behind the settings are in docs/decisions/003-stable-prefix.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Word = tuple[int, ...]
"""The tokens of one word, punctuation included."""


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """``hold_back``: newest words that stay open. ``agreement``: decodes in a row that must have the word.
    ``evidence``: how much a word needs that has just been spoken; less by ``decay`` for every second of its age beyond
    ``patience`` seconds, but not less than ``least``. ``memory``: decodes that are looked at."""

    hold_back: int = 2
    agreement: int = 2
    evidence: float = 4.0
    decay: float = 1.7
    patience: float = 1.0
    least: float = 0.5
    memory: int = 12


@dataclass(frozen=True, slots=True)
class Decode:
    """One decode of the segment: its words, the natural log-probability of the least likely token of each, and how
    many seconds before the end of the audio each was spoken."""

    words: tuple[Word, ...]
    logprobs: tuple[float, ...]
    ages: tuple[float, ...]


def committed_words(
    history: Sequence[Decode], already: int, settings: CommitmentSettings, *, at_pause: bool = False
) -> int:
    """How many words of the newest decode are stable now; never fewer than ``already``.

    ``history``: the decodes of the segment so far, oldest first; the last ``memory`` are enough. ``at_pause``: the
    audio ends in silence, so that no word of the newest decode is cut off.
    """
    newest = history[-1]
    count = already
    while count < len(newest.words) - (0 if at_pause else settings.hold_back):
        logprobs = _agreeing(history[-settings.memory :], count)
        waited = max(0.0, newest.ages[count] - settings.patience)
        needed = max(settings.least, settings.evidence - settings.decay * waited)
        if len(logprobs) < settings.agreement or sum(map(_evidence, logprobs)) < needed:
            break
        count += 1
    return count


def _agreeing(history: Sequence[Decode], index: int) -> list[float]:
    """Log-probabilities, newest first, of the decodes in a row that have the newest one's word at ``index``."""
    word = history[-1].words[index]
    logprobs: list[float] = []
    for decode in reversed(history):
        if len(decode.words) <= index or decode.words[index] != word:
            break
        logprobs.append(decode.logprobs[index])
    return logprobs


def _evidence(logprob: float) -> float:
    """How unlikely it is that a word of this log-probability is wrong, as a natural logarithm; at most about 7."""
    return -math.log(max(1e-3, 1.0 - math.exp(logprob)))
