"""One stream over several sessions: where the next one begins, and how its events are numbered on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream_client._timeline import DOUBT_MS, LEAD_MS, TAIL_MS, Timeline
from stream_protocol import Event, Word
from stream_protocol.events import (
    Done,
    EndOfTranscript,
    FinalSegment,
    Flushed,
    Partial,
    RevisedSegment,
    SpeakersRevised,
    SpeechEnd,
    SpeechStart,
    Warning,
    WarningCode,
)

RATE = 16_000


def sample(ms: int) -> int:
    return ms * RATE // 1000


def start(seq: int, segment: int, ms: int, channel: int = 0) -> SpeechStart:
    return SpeechStart(seq=seq, segment_id=segment, offset_ms=ms, channel=channel)


def partial(seq: int, segment: int, ms: int, channel: int = 0) -> Partial:
    return Partial(
        seq=seq,
        segment_id=segment,
        text="te",
        stable_chars=0,
        language="en",
        offset_ms=ms,
        duration_ms=100,
        audio_duration_sec=0.1,
        latency_ms=1.0,
        channel=channel,
    )


def final(
    seq: int, segment: int, begin: int, end: int, text: str = "text", *, silence: int = 800, channel: int = 0
) -> FinalSegment:
    return FinalSegment(
        seq=seq,
        segment_id=segment,
        text=text,
        language="en",
        offset_ms=begin,
        duration_ms=end - begin,
        audio_duration_sec=1.0,
        silence_duration_ms=silence,
        confidence=0.9,
        words=(Word(text, begin, end, 0.9),),
        latency_ms=1.0,
        channel=channel,
    )


def timeline(*events: Event, received_ms: int) -> Timeline:
    made = Timeline(RATE)
    for event in events:
        assert made.receive(event) == [event], "the first session is the stream"
    made.receive_ack(sample(received_ms))
    return made


def restart(made: Timeline, *, first: int = 0) -> int:
    """In milliseconds."""
    return made.restart(first_sample=first, elapsed_sec=10.0) * 1000 // RATE


def test_what_was_seen_is_not_given_again() -> None:
    made = timeline(start(1, 0, 500), partial(2, 0, 500), received_ms=2000)
    assert made.receive(partial(2, 0, 500)) == []
    assert made.last_seq == 2
    warning = Warning(WarningCode.DRAINING, "soon")
    assert made.receive(warning) == [warning]


def test_an_open_segment_is_heard_again_with_what_comes_before_it() -> None:
    assert restart(timeline(start(1, 0, 5000), received_ms=9000)) == 5000 - LEAD_MS
    assert restart(timeline(start(1, 0, 500), received_ms=9000)) == 0


def test_what_is_final_is_not_heard_again() -> None:
    said = (start(1, 0, 1000), final(2, 0, 1000, 4000))
    assert restart(timeline(*said, start(3, 1, 4500), received_ms=9000)) == 4000 + TAIL_MS
    cut = (start(1, 0, 1000), final(2, 0, 1000, 4000, silence=0))
    assert restart(timeline(*cut, start(3, 1, 4000), received_ms=9000)) == 4000, "speech that went on"
    brief = (start(1, 0, 1000), final(2, 0, 1000, 4000, silence=200))
    assert restart(timeline(*brief, received_ms=4200)) == 4100, "speech may begin soon after a short pause"


def test_in_silence_a_session_begins_with_the_audio_of_which_nothing_may_have_been_said_yet() -> None:
    said = (start(1, 0, 1000), final(2, 0, 1000, 4000))
    assert restart(timeline(*said, received_ms=20_000)) == 20_000 - DOUBT_MS
    assert restart(timeline(*said, received_ms=4100)) == 4100, "no more than was received is skipped"


def test_audio_is_kept_as_long_as_a_session_could_ask_for_it() -> None:
    made = timeline(start(1, 0, 10_000), received_ms=30_000)
    assert made.needed_from == sample(10_000 - LEAD_MS)
    made.receive(final(2, 0, 10_000, 29_000))
    assert made.needed_from == sample(29_000 + TAIL_MS)
    made.receive_ack(sample(60_000))
    assert made.needed_from == sample(60_000 - DOUBT_MS)
    assert restart(made, first=sample(58_000)) == 58_000, "what there is no more of cannot be sent"


def test_numbers_times_and_the_end_go_on() -> None:
    made = timeline(start(1, 0, 1000), final(2, 0, 1000, 4000, "one"), start(3, 1, 9000), received_ms=11_000)
    assert restart(made) == 8000
    assert made.last_seq == 0
    assert made.position(sample(500)) == sample(8500)
    assert made.receive(start(1, 0, 1010)) == [start(4, 2, 9010)]
    assert made.receive(Flushed(seq=2, id=7)) == [Flushed(seq=5, id=7)]
    assert made.receive(final(3, 0, 1010, 3000, "two")) == [final(6, 2, 9010, 11_000, "two")]
    assert made.receive(EndOfTranscript(seq=4, text="two")) == [EndOfTranscript(seq=7, text="one two")]
    done = Done(seq=5, total_segments=1, total_audio_duration_sec=4.0, connection_duration_sec=3.0)
    assert made.receive(done) == [
        Done(seq=8, total_segments=2, total_audio_duration_sec=12.0, connection_duration_sec=13.0)
    ]


@pytest.mark.parametrize("begin", [0, 500], ids=["from the first sample", "later"])
def test_another_channel_that_is_final_already_is_left_out(begin: int) -> None:
    events = (start(1, 0, 1000), start(2, 1, 3000, 1), final(3, 1, 3000, 5000, "once", channel=1))
    made = timeline(*events, received_ms=7000)
    assert restart(made, first=sample(begin)) == begin, "channel 0 has been speaking since the first second"
    assert made.receive(start(1, 0, 1000 - begin)) == [start(4, 2, 1000)]
    assert made.receive(start(2, 1, 3010 - begin, 1)) == []
    assert made.receive(partial(3, 1, 3010 - begin, 1)) == []
    assert made.receive(SpeechEnd(seq=4, segment_id=1, offset_ms=5010 - begin, channel=1)) == []
    assert made.receive(final(5, 1, 3010 - begin, 5010 - begin, "once", channel=1)) == []
    assert made.receive(start(6, 2, 6000 - begin, 1)) == [start(5, 3, 6000, 1)], "numbers without a gap"
    assert made.receive(EndOfTranscript(seq=7, text="of this session")) == [EndOfTranscript(seq=6, text="once")]


CUT = (start(1, 0, 500), final(2, 0, 500, 3000, "other"), start(3, 1, 12_000, 1))
HALF = final(4, 1, 12_000, 20_000, "first half", silence=0, channel=1)


@pytest.mark.parametrize(
    ("events", "begin"),
    [((*CUT, HALF), 17_000), ((*CUT, HALF, start(5, 2, 20_000, 1)), 17_000)],
    ids=["ended in mid-speech", "gone after a cut"],
)
def test_speech_that_goes_on_behind_what_is_final_is_heard_from_there_on(events: tuple[Event, ...], begin: int) -> None:
    made = timeline(*events, received_ms=20_000)
    assert restart(made) == begin, "because channel 0 is silent"
    seq, segment = len(events), 2 + (len(events) > 4)
    assert made.receive(start(1, 0, 100, 1)) == []
    assert made.receive(replace(partial(2, 0, 100, 1), duration_ms=2900)) == [], "it is final that far"
    grown = replace(partial(3, 0, 100, 1), duration_ms=3000, stable_chars=2)
    assert made.receive(grown) == [
        start(seq + 1, segment, 20_000, 1),
        replace(grown, seq=seq + 2, segment_id=segment, offset_ms=begin + 100, stable_chars=0),
    ]
    assert made.receive(SpeechEnd(seq=4, segment_id=0, offset_ms=15_000, channel=1)) == [
        SpeechEnd(seq=seq + 3, segment_id=segment, offset_ms=begin + 15_000, channel=1)
    ]
    words = (Word("half", 100, 3000, 0.9), Word("the", 2900, 3100, 0.9), Word("rest", 4000, 15_000, 0.9))
    (heard,) = made.receive(replace(final(5, 0, 100, 15_000, "half the rest", channel=1), words=words))
    assert isinstance(heard, FinalSegment)
    assert heard.text == "the rest", "what may have been said only in part is not left out"
    assert heard.words == (Word("the", 19_900, 20_100, 0.9), Word("rest", 21_000, 32_000, 0.9))
    assert (heard.offset_ms, heard.duration_ms, heard.segment_id) == (19_900, 12_100, segment)


def test_without_partials_and_words_speech_that_goes_on_is_given_at_its_end_and_whole() -> None:
    made = timeline(*CUT, HALF, received_ms=20_000)
    begin = restart(made)
    assert made.receive(start(1, 0, 100, 1)) == []
    ended = SpeechEnd(seq=2, segment_id=0, offset_ms=15_000, channel=1)
    assert made.receive(ended) == [
        start(5, 2, 20_000, 1),
        replace(ended, seq=6, segment_id=2, offset_ms=begin + 15_000),
    ]
    whole = replace(final(3, 0, 100, 15_000, "half the rest", channel=1), words=None)
    assert made.receive(whole) == [replace(whole, seq=7, segment_id=2, offset_ms=begin + 100)]


def test_speech_of_which_it_is_not_known_yet_whether_it_goes_on_is_kept_for_the_session_after_next() -> None:
    made = timeline(*CUT, HALF, received_ms=20_000)
    restart(made)
    made.receive(start(1, 0, 100, 1))
    made.receive_ack(sample(13_000))
    assert made.needed_from == sample(20_000)
    assert restart(made) == 20_000


def said_by(event: FinalSegment, *speakers: str) -> FinalSegment:
    """The final with a word of each of these, a second each; the first says most."""
    begin = event.offset_ms
    spoken = enumerate(speakers)
    words = tuple(Word(event.text, begin + 1000 * at, begin + 1000 * at + 900, 0.9, name) for at, name in spoken)
    return replace(event, words=words, speaker=speakers[0])


A, B, C = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def test_speakers_of_another_session_come_behind_those_before() -> None:
    first = said_by(final(2, 0, 1000, 4000), A, B)
    made = timeline(start(1, 0, 1000), first, received_ms=9000)
    begin = restart(made)
    assert made.receive(start(1, 0, 3000)) == [start(3, 1, begin + 3000)]
    (heard,) = made.receive(said_by(final(2, 0, 3000, 5000), A, B))
    assert isinstance(heard, FinalSegment)
    assert heard.words is not None
    assert (heard.speaker, [word.speaker for word in heard.words]) == (C, [C, "SPEAKER_03"])
    revised = SpeakersRevised(seq=3, segments=(RevisedSegment(0, B, (B, B)),))
    assert made.receive(revised) == [
        SpeakersRevised(seq=5, segments=(RevisedSegment(1, "SPEAKER_03", ("SPEAKER_03", "SPEAKER_03")),))
    ]
    made.receive_ack(sample(20_000))
    restart(made)
    made.receive(start(1, 0, 3000))
    (heard,) = made.receive(said_by(final(2, 0, 3000, 5000), A))
    assert isinstance(heard, FinalSegment)
    assert heard.speaker == "SPEAKER_04"


def test_a_channel_is_the_same_speaker_in_every_session() -> None:
    made = Timeline(RATE, channels=2)
    first = (start(1, 0, 1000, 1), said_by(final(2, 0, 1000, 4000, channel=1), B))
    assert [made.receive(event) for event in first] == [[event] for event in first]
    made.receive_ack(sample(9000))
    restart(made)
    made.receive(start(1, 0, 3000))
    (heard,) = made.receive(said_by(final(2, 0, 3000, 5000), A))
    assert isinstance(heard, FinalSegment)
    assert heard.speaker == A


def test_a_revision_of_what_was_left_out_or_never_told_is_left_out() -> None:
    made = timeline(start(1, 0, 1000), said_by(final(2, 0, 1000, 4000), A), received_ms=9000)
    known = RevisedSegment(0, B, (B,))
    assert made.receive(SpeakersRevised(seq=3, segments=(known, RevisedSegment(7, B)))) == [
        SpeakersRevised(seq=3, segments=(known,))
    ]
    restart(made)
    assert made.receive(SpeakersRevised(seq=1, segments=(known,))) == [], "of this session there is no final yet"
    assert made.last_seq == 1
    assert made.receive(start(2, 0, 3000)) == [start(4, 1, 9000)], "numbers without a gap"


def test_of_words_that_were_left_out_no_speaker_is_revised() -> None:
    made = timeline(*CUT, HALF, received_ms=20_000)
    restart(made)
    made.receive(start(1, 0, 100, 1))
    made.receive(replace(partial(2, 0, 100, 1), duration_ms=3000))
    words = (Word("half", 100, 3000, 0.9, A), Word("the", 2900, 3100, 0.9, A), Word("rest", 4000, 15_000, 0.9, A))
    (heard,) = made.receive(replace(final(3, 0, 100, 15_000, "half the rest", channel=1), words=words, speaker=A))
    assert isinstance(heard, FinalSegment)
    assert heard.words is not None
    assert [word.word for word in heard.words] == ["the", "rest"]
    (revised,) = made.receive(SpeakersRevised(seq=4, segments=(RevisedSegment(0, B, (A, B, B)),)))
    assert isinstance(revised, SpeakersRevised)
    assert revised.segments == (RevisedSegment(heard.segment_id, B, (B, B)),)
