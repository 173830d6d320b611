"""Text for one line of a file: whatever was said or called, without what would break the line or the file."""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """Control characters and line breaks of every kind become spaces, runs of white space one; none at the ends.

    Marks that join or direct letters stay: emoji and right-to-left text need them.
    """
    return " ".join(_CONTROL.sub(" ", text).split())
