"""Recognises a decoder that has fallen into a loop. Knows nothing but token ids."""

from collections.abc import Sequence

# How often a run of so many tokens must stand at the end, back to back, to be called a loop. People do say a word four
# or five times over ("no, no, no, no"); nobody says the same five tokens four times.
_LIMITS = {1: 8, 2: 7, 3: 5, 4: 5, 5: 4, 6: 4, 7: 4, 8: 4, 9: 3, 10: 3, 11: 3, 12: 3}


def find_loop(tokens: Sequence[int]) -> int | None:
    """How many of `tokens` to keep, with one occurrence of what repeats at their end; None if nothing loops."""
    size = len(tokens)
    for width, times in _LIMITS.items():
        span = width * times
        if span > size or tokens[-1] != tokens[-1 - width]:
            continue
        tail = tokens[size - span :]
        if tail[width:] == tail[:-width]:
            start = size - span
            while start > 0 and tokens[start - 1] == tokens[start - 1 + width]:
                start -= 1
            return start + width
    return None
