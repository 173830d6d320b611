"""When words become stable, and whether the promises on text are kept: a list of events in, figures out."""

from bench.stability import Arrival, find_breaches, stable_words
from stream_protocol.events import Event, FinalSegment, Partial, SpeechEnd, SpeechStart
from stream_protocol.transcript import Word


def start(segment: int = 0) -> SpeechStart:
    return SpeechStart(seq=1, segment_id=segment, offset_ms=0)


def partial(text: str, stable: int, segment: int = 0) -> Partial:
    return Partial(
        seq=1,
        segment_id=segment,
        text=text,
        stable_chars=stable,
        language="en",
        offset_ms=0,
        duration_ms=0,
        audio_duration_sec=0.0,
        latency_ms=0.0,
    )


def final(text: str, ends: tuple[int, ...] = (), segment: int = 0) -> FinalSegment:
    words = tuple(Word(word, 0, end, 1.0) for word, end in zip(text.split(), ends, strict=False))
    return FinalSegment(
        seq=1,
        segment_id=segment,
        text=text,
        language="en",
        offset_ms=0,
        duration_ms=0,
        audio_duration_sec=0.0,
        silence_duration_ms=0,
        confidence=1.0,
        words=words,
        latency_ms=0.0,
    )


def arrivals(*events: Event) -> list[Arrival]:
    """The events half a second apart, the first at 0.5 s."""
    return [Arrival(event, 0.5 * number) for number, event in enumerate(events, 1)]


def test_a_word_is_stable_with_the_first_partial_that_covers_it() -> None:
    events = arrivals(
        start(),
        partial("the", 0),
        partial("the cat", 3),
        partial("the cat sat", 6),
        final("the cat sat", (400, 900, 1300)),
    )
    words = stable_words(events)
    # "the" with the third event, "cat" (six of its seven characters were stable) and "sat" only with the final
    assert [(word.word, word.lag_ms, word.by_partial) for word in words] == [
        ("the", 1100, True),
        ("cat", 1600, False),
        ("sat", 1200, False),
    ]


def test_equal_words_are_told_apart() -> None:
    events = arrivals(start(), partial("no no", 2), final("no no", (100, 700)))
    assert [(word.lag_ms, word.by_partial) for word in stable_words(events)] == [(900, True), (800, False)]


def test_segments_are_looked_at_by_themselves() -> None:
    events = arrivals(start(), partial("yes", 3), final("yes", (200,)), start(1), final("yes", (1900,), 1))
    assert [(word.lag_ms, word.by_partial) for word in stable_words(events)] == [(800, True), (600, False)]


def test_a_final_without_words_counts_for_nothing() -> None:
    assert stable_words(arrivals(start(), final(""))) == []


def test_kept_promises() -> None:
    end = SpeechEnd(seq=1, segment_id=0, offset_ms=0)
    events = arrivals(
        start(), partial("the cat", 4), partial("the dog", 4), end, final("the dogs"), start(1), final("", (), 1)
    )
    assert find_breaches(events) == []


def test_a_stable_prefix_that_changes_is_found_even_later() -> None:
    events = arrivals(start(), partial("the cat", 7), partial("the cat", 0), final("the dog"))
    assert find_breaches(events) == ["segment 0: 'the cat' was stable, then came 'the dog'"]


def test_more_stable_characters_than_characters() -> None:
    assert find_breaches(arrivals(start(), partial("cat", 4), final("cat"))) == ["segment 0: 4 of 3 characters stable"]


def test_order_and_number_of_finals() -> None:
    assert find_breaches(arrivals(start())) == ["segment 0: no final"]
    assert find_breaches(arrivals(start(), final("a"), final("a"))) == ["segment 0: final_segment out of order"]
    assert find_breaches(arrivals(start(), final("a"), partial("a", 0))) == ["segment 0: partial out of order"]
    assert find_breaches(arrivals(partial("a", 0), final("a"))) == ["segment 0: partial out of order"]
