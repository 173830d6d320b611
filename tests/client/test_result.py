"""What finals and revisions make of a transcript."""

from __future__ import annotations

from stream_client import TranscriptBuilder
from stream_protocol import Segment, Word
from stream_protocol.events import Done, FinalSegment, RevisedSegment, SpeakersRevised

A, B = "SPEAKER_00", "SPEAKER_01"


def final(segment: int, begin: int, *speakers: str, words: bool = True) -> FinalSegment:
    """A word of each of these, a second each; the first says most."""
    said = tuple(
        Word(f"word{at}", begin + 1000 * at, begin + 1000 * at + 1000, 0.9, name) for at, name in enumerate(speakers)
    )
    return FinalSegment(
        seq=1,
        segment_id=segment,
        text=" ".join(word.word for word in said),
        language="en",
        offset_ms=begin,
        duration_ms=1000 * len(said),
        audio_duration_sec=1.0,
        silence_duration_ms=800,
        confidence=0.9,
        words=said if words else None,
        speaker=speakers[0] if speakers else None,
        latency_ms=1.0,
    )


def built(*events: FinalSegment | SpeakersRevised | Done) -> list[tuple[str | None, list[str | None]]]:
    builder = TranscriptBuilder()
    for event in events:
        builder.receive(event)
    return [(segment.speaker, [word.speaker for word in segment.words]) for segment in builder.build().segments]


def test_finals_come_in_order_of_time_and_empty_ones_not_at_all() -> None:
    builder = TranscriptBuilder()
    for event in (final(1, 5000, B), final(0, 1000, A), final(2, 9000)):
        builder.receive(event)
    builder.receive(Done(seq=9, total_segments=3, total_audio_duration_sec=12.0, connection_duration_sec=3.0))
    transcript = builder.build()
    assert transcript.duration_ms == 12_000
    assert transcript.segments[0] == Segment("word0", 1000, 2000, 0.9, (Word("word0", 1000, 2000, 0.9, A),), A)
    assert [segment.speaker for segment in transcript.segments] == [A, B]


def test_a_revision_is_in_the_transcript_and_changes_nothing_else() -> None:
    revised = SpeakersRevised(seq=3, segments=(RevisedSegment(1, A, (A, A)), RevisedSegment(9, A, (A,))))
    assert built(final(0, 0, B, A), final(1, 5000, B, A), revised) == [(B, [B, A]), (A, [A, A])]


def test_the_last_revision_counts() -> None:
    first, second = (SpeakersRevised(seq=3, segments=(RevisedSegment(0, name, (name,)),)) for name in (B, A))
    assert built(final(0, 0, A), first) == [(B, [B])]
    assert built(final(0, 0, A), first, second) == [(A, [A])]


def test_without_words_the_segment_is_revised() -> None:
    assert built(final(0, 0, A, words=False), SpeakersRevised(seq=3, segments=(RevisedSegment(0, B),))) == [(B, [])]
