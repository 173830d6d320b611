"""Who speaks when, and whose words are whose: how right it is by the field's own rate and by words, and its cost."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.conversation import Conversation
from bench.labelled_speech import RATE
from stream_protocol.transcript import Word
from stream_server.speakers.turn import Turn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies, about each other
    from pyannote.core import Annotation, Segment
    from pyannote.metrics.diarization import DiarizationErrorRate

COLLAR_SEC: Final = 0.25
"""Before and after every border of a true turn, as NIST's scoring leaves it out."""


@dataclass(frozen=True, slots=True)
class Der:
    """Diarization error rate and its parts, as shares of the true speech; overlapping speech counts."""

    error: float
    missed: float
    false_alarm: float
    confusion: float
    without_collar: float


class TurnScore:
    """Adds up over conversations, by pyannote.metrics."""

    def __init__(self) -> None:
        # Its collar is the whole width, half of it on either side.
        self._rate = DiarizationErrorRate(collar=2 * COLLAR_SEC)
        self._strict = DiarizationErrorRate(collar=0.0)
        self._parts: list[dict[str, float]] = []

    def add(self, conversation: Conversation, turns: Iterable[Turn]) -> float:
        """The error rate of this one alone."""
        truth, heard = Annotation(), Annotation()
        for number, (start, end, speaker) in enumerate(conversation.turns):
            truth[Segment(start / RATE, end / RATE), number] = speaker
        for number, turn in enumerate(turns):
            heard[Segment(turn.start_ms / 1000, turn.end_ms / 1000), number] = turn.speaker
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it takes the recording as long as its turns, which is so
            self._strict(truth, heard)
            parts = self._rate(truth, heard, detailed=True)
        assert isinstance(parts, dict)
        self._parts.append(parts)
        return float(parts["diarization error rate"])

    def total(self) -> Der:
        """Over everything so far."""
        missed, false, confused, spoken = (
            float(sum(parts[name] for parts in self._parts))
            for name in ("missed detection", "false alarm", "confusion", "total")
        )
        error = (missed + false + confused) / spoken
        return Der(error, missed / spoken, false / spoken, confused / spoken, abs(self._strict))


@dataclass(slots=True)
class WordScore:
    """Words away from the borders of turns, and how many of them have the right speaker.

    Who is who is settled by time, so that most of what is said is right. A word in which two speak is right with
    either. Words where nobody speaks, by the truth, are not counted.
    """

    words: int = 0
    right: int = 0

    @property
    def share(self) -> float:
        return self.right / max(1, self.words)

    def add(self, conversation: Conversation, words: Sequence[Word], turns: Sequence[Turn]) -> None:
        """The words of a transcript of the conversation, whose labels are those of ``turns``."""
        names = _names(conversation, turns)
        collar = COLLAR_SEC * RATE
        for word in words:
            middle = (word.start_ms + word.end_ms) / 2 * RATE / 1000
            if any(abs(middle - border) < collar for start, end, _ in conversation.turns for border in (start, end)):
                continue
            true = {speaker for start, end, speaker in conversation.turns if start <= middle < end}
            if not true:
                continue
            self.words += 1
            self.right += names.get(word.speaker or "") in true


@dataclass(slots=True)
class Tally:
    """What has been found by one way over one line."""

    turns: TurnScore = field(default_factory=TurnScore)
    words: WordScore = field(default_factory=WordScore)
    worst: float = 0.0
    counted: int = 0  # conversations with the right number of speakers
    conversations: int = 0
    audio_sec: float = 0.0
    cpu_sec: float = 0.0
    segments: int = 0
    revised: int = 0

    def add(self, conversation: Conversation, turns: Sequence[Turn], cpu_sec: float) -> None:
        self.worst = max(self.worst, self.turns.add(conversation, turns))
        self.counted += len({turn.speaker for turn in turns}) == conversation.speakers
        self.conversations += 1
        self.audio_sec += conversation.seconds
        self.cpu_sec += cpu_sec

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.turns.total()),
            "worst": self.worst,
            "counted": self.counted / self.conversations,
            "words": self.words.words,
            "right_words": self.words.share if self.words.words else None,
            "cpu_per_sec": self.cpu_sec / self.audio_sec,
            "segments": self.segments,
            "revised": self.revised,
        }


def _names(conversation: Conversation, turns: Sequence[Turn]) -> dict[str, str]:
    """The true speaker of each label, one to one, by the most time in common (largest first)."""
    shared: dict[tuple[str, str], float] = {}
    for turn in turns:
        for start, end, speaker in conversation.turns:
            both = min(end / RATE, turn.end_ms / 1000) - max(start / RATE, turn.start_ms / 1000)
            if both > 0:
                key = turn.speaker, speaker
                shared[key] = shared.get(key, 0.0) + both
    names: dict[str, str] = {}
    for label, speaker in sorted(shared, key=shared.__getitem__, reverse=True):
        if label not in names and speaker not in names.values():
            names[label] = speaker
    return names
