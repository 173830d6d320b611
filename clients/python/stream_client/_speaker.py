"""What a server calls the speakers whose names it does not know, over several sessions. Who they are nobody says."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = re.compile(r"SPEAKER_(\d{2,})")


class SpeakerLabels:
    """The labels of one session, behind those of earlier ones: each session counts from 0, and a label of the stream
    means one person only.

    ``count``: how many speakers have been heard, the ``others`` of earlier sessions included.
    """

    def __init__(self, others: int = 0) -> None:
        self._others = others
        self.count = others

    def of(self, speaker: str) -> str:
        """The label that a speaker of the session has in the stream; a name stays."""
        found = _LABEL.fullmatch(speaker)
        if found is None:
            return speaker
        here = int(found[1]) + self._others
        self.count = max(self.count, here + 1)
        return f"SPEAKER_{here:02}"
