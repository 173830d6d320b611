"""When text can be relied on. Events and their times in, figures out; it does not know where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream_protocol.events import Event, FinalSegment, Partial, SpeechStart


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event, and when it came: seconds after the first sample was spoken."""

    event: Event
    at: float


@dataclass(frozen=True, slots=True)
class StableWord:
    """A word of a final: how long after its end it became stable, and whether a partial or only the final said so."""

    word: str
    lag_ms: float
    by_partial: bool


def find_breaches(arrivals: Sequence[Arrival]) -> list[str]:
    """Where the promises on text were broken, in words; empty where they were kept.

    The first ``stable_chars`` characters of a partial begin every later partial and the final of its segment, and a
    segment that began has exactly one final, after which nothing more is said of it.
    """
    breaches = []
    stable: dict[tuple[int, int], str] = {}  # of every open segment
    closed: set[tuple[int, int]] = set()
    for arrival in arrivals:
        event = arrival.event
        if not isinstance(event, SpeechStart | Partial | FinalSegment):
            continue
        key = event.channel, event.segment_id
        if key in closed or (isinstance(event, SpeechStart) == (key in stable)):
            breaches.append(f"segment {event.segment_id}: {event.type} out of order")
        if key in closed:
            continue
        if isinstance(event, SpeechStart):
            stable[key] = ""
            continue
        kept = stable.get(key, "")
        if not event.text.startswith(kept):
            breaches.append(f"segment {event.segment_id}: {kept!r} was stable, then came {event.text!r}")
        if isinstance(event, FinalSegment):
            closed.add(key)
            stable.pop(key, None)
        elif event.stable_chars > len(event.text):
            breaches.append(f"segment {event.segment_id}: {event.stable_chars} of {len(event.text)} characters stable")
        else:
            stable[key] = max(kept, event.text[: event.stable_chars], key=len)
    return breaches + [f"segment {segment}: no final" for _, segment in stable]


def stable_words(arrivals: Sequence[Arrival]) -> list[StableWord]:
    """Every word of the finals, with the time from its end (by the final's word times) until it was stable.

    A word is stable with the first partial whose stable part covers it, else with the final.
    """
    words = []
    partials: dict[tuple[int, int], list[tuple[int, float]]] = {}  # stable_chars and time
    for arrival in arrivals:
        event = arrival.event
        if isinstance(event, Partial):
            partials.setdefault((event.channel, event.segment_id), []).append((event.stable_chars, arrival.at))
        elif isinstance(event, FinalSegment):
            earlier = partials.pop((event.channel, event.segment_id), [])
            position = 0
            for word in event.words or ():
                position = event.text.index(word.word, position) + len(word.word)
                known = next((at for chars, at in earlier if chars >= position), None)
                at = arrival.at if known is None else known
                words.append(StableWord(word.word, 1000 * at - word.end_ms, known is not None))
    return words
