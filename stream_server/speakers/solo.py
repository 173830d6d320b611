"""Where one person speaks and nobody else: what a voice can be learned from. It knows times, and no audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stream_server.speakers.turn import Span, Turn


def solo_spans(turns: Iterable[Turn]) -> dict[str, list[Span]]:
    """For each speaker, in order of time, the spans in which nobody else speaks; a speaker may have none."""
    changes: list[tuple[int, int, str]] = []
    for turn in turns:
        changes += [(turn.start_ms, 1, turn.speaker), (turn.end_ms, -1, turn.speaker)]
    spans: dict[str, list[Span]] = {speaker: [] for _, _, speaker in changes}
    speaking: Counter[str] = Counter()
    since = 0
    for at, step, speaker in sorted(changes):
        if at > since and len(speaking) == 1:
            _extend(spans[next(iter(speaking))], since, at)
        since = at
        speaking[speaker] += step
        if not speaking[speaker]:
            del speaking[speaker]
    return spans


def longest_spans(spans: Sequence[Span], most_ms: int) -> list[Span]:
    """The longest of them that are ``most_ms`` together, in order of time; the last one that fits is cut."""
    chosen: list[Span] = []
    left = most_ms
    for start, end in sorted(spans, key=length, reverse=True):
        if left <= 0:
            break
        chosen.append((start, min(end, start + left)))
        left -= end - start
    return sorted(chosen)


def length(span: Span) -> int:
    """In milliseconds."""
    return span[1] - span[0]


def _extend(spans: list[Span], start: int, end: int) -> None:
    if spans and spans[-1][1] == start:
        start = spans.pop()[0]
    spans.append((start, end))
