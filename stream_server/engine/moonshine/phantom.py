"""Text that the model makes up where nobody speaks. It sees a hypothesis, not the audio.

On noise, tones and clicks the model does not stay silent but says what its training captions said there: a lone "You",
musical notes, "Thank you for watching!". Probabilities do not give it away (docs/decisions/003-stable-prefix.md), but
sparseness does: nobody takes two seconds for "you".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LAST_LATIN = "\u024f"
"""The last letter of the Latin blocks of Unicode; the model knows others, and English does not."""


@dataclass(frozen=True, slots=True)
class PhantomSettings:
    """``phrases``: in lower case without punctuation; made up where a word of them fills more than
    ``seconds_per_word``, or where their mean log-probability is below ``unlikely_phrase``. Any text below ``unlikely``
    is not speech, nor is a loop below ``unlikely_loop``."""

    phrases: frozenset[str] = frozenset(
        {"you", "so", "thank you", "thanks for watching", "thank you for watching", "bye", "uh", "oh"}
    )
    seconds_per_word: float = 0.8
    unlikely_phrase: float = -0.35
    unlikely: float = -1.3
    unlikely_loop: float = -0.9


def is_phantom(text: str, seconds: float, logprob: float, looped: bool, settings: PhantomSettings) -> bool:
    """Whether a whole hypothesis is made up.

    ``seconds``: how long the speech it is to come from is; ``logprob``: mean natural log-probability of its tokens;
    ``looped``: the model repeated itself.
    """
    if not text:
        return False
    unlikely = logprob < settings.unlikely or (looped and logprob < settings.unlikely_loop)
    return unlikely or is_stock_phrase(text, seconds, logprob, settings)


def is_stock_phrase(text: str, seconds: float, logprob: float, settings: PhantomSettings) -> bool:
    """Whether it is what the model says of noise, or no English at all; arguments as for `is_phantom`.

    Of the first half second of speech the model is never sure, so this is all that partials are held to.
    """
    words = re.sub(r"[^\w' ]", " ", text.lower()).split()
    if not words or any(letter > LAST_LATIN for letter in "".join(words)):
        return True
    if " ".join(words) not in settings.phrases:
        return False
    return seconds > settings.seconds_per_word * len(words) or logprob < settings.unlikely_phrase
