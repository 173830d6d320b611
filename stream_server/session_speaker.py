"""Who is said to speak in the finals of a session, and what has to be said when that was wrong. No I/O, no voices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from stream_protocol.events import FinalSegment, RevisedSegment
from stream_protocol.transcript import Turn
from stream_server.engine.work import SAMPLE_RATE, TimedWord
from stream_server.speakers.labelling import speakers_at
from stream_server.speakers.turn import Span, label_of

SAMPLES_PER_MS = SAMPLE_RATE // 1000

MOST_KEPT: Final = 500
"""Finals that can be revised: about an hour of a conversation. What is older stays as it was told."""


@dataclass(slots=True)
class _Told:
    """What a caller was told of a final. ``spans``: of its words, or of all of it where no word has a time.

    ``has_words``: whether the final had words; otherwise their times only say who speaks most.
    """

    spans: tuple[Span, ...]
    has_words: bool
    speaker: str
    speakers: tuple[str, ...]


class SpeakerBook:
    """The finals of a session with one channel, and who was said to speak in them: the last `MOST_KEPT`."""

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def attribute(self, final: FinalSegment, words: Sequence[TimedWord], turns: Sequence[Turn]) -> FinalSegment:
        """The final with its speakers. ``words``: as the recognizer heard them, whether or not the final has them."""
        assert turns, "somebody speaks where there is text"
        spans = tuple((word.start // SAMPLES_PER_MS, word.end // SAMPLES_PER_MS) for word in words)
        spans = spans or ((final.offset_ms, final.offset_ms + final.duration_ms),)
        speaker, speakers = _speakers(spans, turns)
        self._told[final.segment_id] = _Told(spans, bool(final.words), speaker, speakers)
        for oldest in list(islice(self._told, max(0, len(self._told) - MOST_KEPT))):
            del self._told[oldest]
        return _labelled(final, speaker, speakers)

    def revise(self, revised: Mapping[int, Sequence[Turn]]) -> tuple[RevisedSegment, ...]:
        """What changes for the caller where the turns of these segments are others than they were."""
        changes: list[RevisedSegment] = []
        for segment_id, turns in sorted(revised.items()):
            told = self._told.get(segment_id)
            if told is None or not turns:
                continue
            speaker, speakers = _speakers(told.spans, turns)
            if (speaker, speakers if told.has_words else ()) != (told.speaker, told.speakers if told.has_words else ()):
                changes.append(RevisedSegment(segment_id, speaker, speakers if told.has_words else None))
            told.speaker, told.speakers = speaker, speakers
        return tuple(changes)


def by_channel(final: FinalSegment) -> FinalSegment:
    """The final with its channel as the speaker; one without text has none."""
    speaker = label_of(final.channel)
    return _labelled(final, speaker, [speaker] * len(final.words or ())) if final.text else final


def _speakers(spans: Sequence[Span], turns: Sequence[Turn]) -> tuple[str, tuple[str, ...]]:
    """Who speaks for the longest in all of these spans, and who speaks in each."""
    found = tuple(map(str, speakers_at(spans, turns)))
    shares: dict[str, int] = {}
    for speaker, (start, end) in zip(found, spans, strict=True):
        shares[speaker] = shares.get(speaker, 0) + end - start
    return max(shares, key=shares.__getitem__), found


def _labelled(final: FinalSegment, speaker: str, speakers: Sequence[str]) -> FinalSegment:
    words = final.words
    if words:
        words = tuple(replace(word, speaker=said_by) for word, said_by in zip(words, speakers, strict=True))
    return replace(final, speaker=speaker, words=words)
