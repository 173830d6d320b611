"""What speakers and their projects may be called, wherever a caller writes it."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from stream_server.speakers.turn import UNKNOWN

_TAKEN: Final = re.compile(rf"{UNKNOWN}|SPEAKER_\d+", re.IGNORECASE)
"""What those are called whom nobody knows."""

_JOINERS: Final = str.maketrans("", "", "\u200c\u200d")
"""They join or part the letters around them, without which some names are misspelt in Persian, Sinhala or Malayalam."""


def _printed(text: str) -> str:
    visible = _visible(text)
    if (text and not visible) or not visible.isprintable():
        raise ValueError("has a character in it that is not printed")
    return text


def _free(name: str) -> str:
    if _TAKEN.fullmatch(_visible(name)):
        raise ValueError("is what somebody is called whom nobody knows; take another name")
    return name


def _visible(text: str) -> str:
    return text.translate(_JOINERS).strip()


SpeakerName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printed),
    AfterValidator(_free),
]
ProjectName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_printed)]
"""May be empty: then it is the project that has no name."""
