"""Values of command lines that the benchmarks share. Each raises what argparse turns into a message."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"


def count(text: str) -> int:
    """A number of things: 1 or more."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("one is the least")
    return number


def some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Some of these, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(part.strip() for part in text.split(","))
        if unknown := sorted(set(chosen) - set(known)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return parse
