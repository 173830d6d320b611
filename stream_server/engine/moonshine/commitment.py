"""When a word of a growing hypothesis may be declared stable. Words in, a number of words out; no audio, no model.

A segment is decoded again and again while it grows. A word is committed once the evidence for it, and for everything
before it, is enough; later decodes are then forced to keep it. Each of the last decodes that has the word in its place
speaks for it with the logarithm of how unlikely it is to be wrong, ``-log(1 - p)``, p being the probability of its
least likely token; each that has another word there speaks for that one. A word that has been waiting since it was
spoken needs less, so that one doubtful word does not hold up all that follow it. The newest words are held back
whatever their evidence: the model guesses at what the cut-off audio may become.

Committing too early is what costs accuracy; the figures behind the settings are in docs/decisions/003-stable-prefix.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

Word = tuple[int, ...]
"""The tokens of one word, punctuation included."""


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """``hold_back``: newest words that stay open. ``agreement``: decodes that must have the word. ``evidence``: by how
    much a word that has just been spoken must lead; less by ``decay`` for every second of its age beyond ``patience``
    seconds. ``memory``: decodes that are heard."""

    hold_back: int = 2
    agreement: int = 2
    evidence: float = 4.0
    decay: float = 1.0
    patience: float = 1.0
    memory: int = 4


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
    heard = history[-settings.memory :]
    count = already
    while count < len(newest.words) - (0 if at_pause else settings.hold_back):
        supporters, lead = _vote(heard, count)
        waited = max(0.0, newest.ages[count] - settings.patience)
        if supporters < settings.agreement or lead < max(0.0, settings.evidence - settings.decay * waited):
            break
        count += 1
    return count


def _vote(heard: Sequence[Decode], index: int) -> tuple[int, float]:
    """How many decodes have the newest one's word at ``index``, and how far its evidence leads the next best word's."""
    word = heard[-1].words[index]
    evidence: defaultdict[Word, float] = defaultdict(float)
    supporters = 0
    for decode in heard:
        if len(decode.words) > index:
            evidence[decode.words[index]] += _evidence(decode.logprobs[index])
            supporters += decode.words[index] == word
    own = evidence.pop(word)
    return supporters, own - max(evidence.values(), default=0.0)


def _evidence(logprob: float) -> float:
    """How unlikely it is that a word of this log-probability is wrong, as a natural logarithm; at most about 7."""
    return -math.log(max(1e-3, 1.0 - math.exp(logprob)))
