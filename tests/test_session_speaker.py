"""Who is said to speak, as a list in and a list out: by channel and by voice, in order, and revised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_protocol.events import FinalSegment, RevisedSegment
from stream_protocol.transcript import Word
from stream_server.engine.work import SAMPLE_RATE, TimedWord
from stream_server.session import State
from stream_server.session_speaker import MOST_KEPT, SpeakerBook, by_channel
from stream_server.speakers.live import Spoken
from stream_server.speakers.turn import Turn
from tests.support.driven import LOUD, Driven, LoudnessVad
from tests.support.fake import FakeRecognizer
from tests.support.speech import pcm

A, B = "SPEAKER_00", "SPEAKER_01"
EVER = 10**9


def sound(*parts: float) -> bytes:
    """Seconds of speech (positive) and silence (negative), for `LoudnessVad`, as int16."""
    return pcm(np.concatenate([np.full(round(abs(part) * SAMPLE_RATE), LOUD * (part > 0)) for part in parts]))


def driven(recognizer: FakeRecognizer | None = None, *, eager: bool = True, **init: Any) -> Driven:
    return Driven(recognizer, vad=LoudnessVad(), eager=eager, **{"dtype": "int16", "diarize": True} | init)


def wav(channels: int) -> bytes:
    """The header of a recording that goes on for ever."""
    head = [b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00", b"\x01\x00", channels.to_bytes(2, "little")]
    rates = [SAMPLE_RATE.to_bytes(4, "little"), (2 * channels * SAMPLE_RATE).to_bytes(4, "little")]
    return b"".join([*head, *rates, (2 * channels).to_bytes(2, "little"), b"\x10\x00data\xff\xff\xff\xff"])


# -- the session -------------------------------------------------------------------------------------------------------


def test_without_diarize_nobody_is_named_and_nothing_is_asked() -> None:
    made = driven(diarize=False)
    made.play(sound(1.0, -1.0))
    made.end()
    assert made.finals
    assert "speaker" not in made.finals[0]
    assert all("speaker" not in word for word in made.finals[0]["words"])
    assert made.session.needs_voices is False
    assert made.of("ready")[0]["config"]["diarize"] is False


def test_the_channel_is_the_speaker_where_there_are_two() -> None:
    made = driven(channels=2, eager=False)
    left, right = (np.frombuffer(sound(*parts), "<i2") for parts in ((1.0, -3.0), (-2.0, 1.0, -1.0)))
    made.play(np.stack((left, right), axis=1).tobytes())
    made.end()
    assert made.session.needs_voices is False
    assert [(final["channel"], final["speaker"]) for final in made.finals] == [(0, A), (1, B)]
    for final in made.finals:
        assert {word["speaker"] for word in final["words"]} == {final["speaker"]}


def test_a_final_of_one_channel_waits_until_it_is_known_who_speaks() -> None:
    made = driven(eager=False)
    made.play(sound(1.0, -1.0))
    while made.step():
        pass
    while made.deliver(0):
        pass
    assert made.finals == []
    made.now += 0.5
    assert made.tell()
    assert [final["speaker"] for final in made.finals] == [A]
    assert {word["speaker"] for word in made.finals[0]["words"]} == {A}
    assert made.finals[0]["latency_ms"] == 500.0, "the caller has waited for it, too"


def test_a_flush_and_the_end_wait_for_who_speaks() -> None:
    made = driven(eager=False)
    made.play(sound(1.0))
    made.send({"type": "flush", "id": 1})
    made.play(sound(1.0))
    made.send("END")
    while made.step():
        pass
    while made.deliver(0):
        pass
    assert made.of("flushed", "done") == []
    assert made.tell()
    assert made.kinds[-2:] == ["final_segment", "flushed"]
    assert made.tell()
    assert made.kinds[-3:] == ["final_segment", "end_of_transcript", "done"]
    assert [final["speaker"] for final in made.finals] == [A, B]


def test_no_partial_overtakes_a_final_that_waits() -> None:
    made = driven(max_segment_sec=2, eager=False)
    made.play(sound(3.5))  # cut, and going on
    while made.step():
        pass
    while made.deliver(0):
        pass
    assert made.untold
    made.play(sound(0.6))
    made.step()
    while made.deliver(0):
        pass
    shown = {partial["segment_id"] for partial in made.of("partial")}
    assert shown <= {0}, "`PromiseWatch` would have seen it, too"
    made.end()
    assert [final["segment_id"] for final in made.finals] == list(range(len(made.finals)))


class Deaf(FakeRecognizer):
    """Hears nothing in a segment shorter than a second and a half."""

    def _decode(self, task: Any) -> Any:
        made = super()._decode(task)
        if len(task.audio) < 1.5 * SAMPLE_RATE:
            return type(made)("", 0, 0.0, "en", ())
        return made


def test_a_final_without_text_has_no_speaker_and_nobody_is_asked_but_it_keeps_its_place() -> None:
    made = driven(Deaf(), eager=False, partials=False)
    made.play(sound(-1.0, 2.0, -1.5, 0.3, -1.5, 2.0, -1.0))
    while made.step():
        pass
    while made.deliver(0):
        pass
    assert list(made.untold) == [0, 2]
    assert made.finals == [], "the empty one waits for the one before it"
    assert made.tell()
    assert [(final["segment_id"], final.get("speaker")) for final in made.finals] == [(0, A), (1, None)]
    made.end()
    assert [final.get("speaker") for final in made.finals] == [A, None, "SPEAKER_02"]


def test_a_revision_comes_behind_its_final_and_names_what_changed() -> None:
    made = driven()
    made.spoken = lambda segment: Spoken(
        (Turn(0, EVER, A if segment == 0 else B),),
        {0: (Turn(0, EVER, B),), 7: (Turn(0, EVER, A),)} if segment == 1 else {},
    )
    made.play(sound(1.0, -1.5, 1.0, -1.5, 1.0, -1.5))
    made.end()
    kinds = [kind for kind in made.kinds if kind in ("final_segment", "speakers_revised")]
    assert kinds == ["final_segment", "final_segment", "speakers_revised", "final_segment"]
    words = len(made.finals[0]["words"])
    assert made.of("speakers_revised")[0]["segments"] == [{"segment_id": 0, "speaker": B, "words": [B] * words}]


def test_a_revision_that_changes_nothing_is_not_told() -> None:
    made = driven()
    made.spoken = lambda segment: Spoken((Turn(0, EVER, A),), {0: (Turn(0, EVER, A),)})
    made.play(sound(1.0, -1.5, 1.0, -1.5))
    made.end()
    assert made.of("speakers_revised") == []
    assert made.kinds[-1] == "done"


def test_a_turn_within_a_segment() -> None:
    made = driven()
    made.spoken = lambda segment: Spoken((Turn(0, 1250, A), Turn(1250, EVER, B)))
    made.play(sound(-0.5, 3.0, -1.0))
    made.end()
    final = made.finals[0]
    said = [(word["start_ms"] < 1250, word["speaker"]) for word in final["words"]]
    assert said == [(is_first, A if is_first else B) for is_first, _ in said]
    assert {speaker for _, speaker in said} == {A, B}
    assert final["speaker"] == B, "who says most of it"


def test_without_words_the_final_has_a_speaker_still() -> None:
    made = driven(words=False)
    made.spoken = lambda segment: Spoken((Turn(0, 600, A), Turn(600, EVER, B)))
    made.play(sound(2.0, -1.0))
    made.end()
    assert made.finals[0]["speaker"] == B
    assert "words" not in made.finals[0]


@pytest.mark.parametrize(("announced", "said"), [(1, 2), (2, 1), (1, 1), (2, 2)])
def test_a_header_decides_how_speakers_are_told_apart(announced: int, said: int) -> None:
    made = driven(channels=announced)
    assert made.session.needs_voices is None
    made.play(wav(said)[:30])
    assert made.session.needs_voices is None, "the header has not come whole"
    made.play(wav(said)[30:])
    audio = np.frombuffer(sound(1.0, -1.0), "<i2")
    made.play(np.stack([audio] * said, axis=1).tobytes())
    assert made.session.needs_voices is (said == 1)
    made.end()
    assert [final["speaker"] for final in made.finals] == [A, B][:said]


def test_who_speaks_is_of_no_interest_to_a_closed_session() -> None:
    made = driven(eager=False)
    made.play(sound(1.0, -1.0))
    while made.step():
        pass
    while made.deliver(0):
        pass
    made.session.close()
    said = len(made.events)
    assert made.tell()
    assert made.session.state is State.CLOSED
    assert len(made.events) == said


# -- the book ----------------------------------------------------------------------------------------------------------


def final(segment: int, words: int = 1, text: str = "text") -> FinalSegment:
    return FinalSegment(
        seq=1,
        segment_id=segment,
        text=text,
        language="en",
        offset_ms=0,
        duration_ms=1000,
        audio_duration_sec=1.0,
        silence_duration_ms=800,
        confidence=0.9,
        words=tuple(Word(text, at * 100, at * 100 + 100, 0.9) for at in range(words)),
        latency_ms=1.0,
    )


def timed(words: int) -> list[TimedWord]:
    return [TimedWord("text", at * 1600, at * 1600 + 1600, 0.9) for at in range(words)]


def test_what_is_long_past_stays_as_it_was_told() -> None:
    book = SpeakerBook()
    for segment in range(MOST_KEPT + 1):
        book.attribute(final(segment), timed(1), [Turn(0, EVER, A)])
    other = [Turn(0, EVER, B)]
    assert book.revise({0: other}) == ()
    assert book.revise({1: other}) == (RevisedSegment(1, B, (B,)),)


def test_a_word_that_changes_is_told_though_the_segment_stays_its_speakers() -> None:
    book = SpeakerBook()
    told = book.attribute(final(0, words=3), timed(3), [Turn(0, EVER, A)])
    assert told.words is not None
    assert [word.speaker for word in told.words] == [A, A, A]
    turns = [Turn(0, 200, A), Turn(200, EVER, B)]
    assert book.revise({0: turns}) == (RevisedSegment(0, A, (A, A, B)),)
    assert book.revise({0: turns}) == (), "it was told"


def test_words_that_were_not_sent_are_not_revised() -> None:
    book = SpeakerBook()
    bare = FinalSegment(**{name: getattr(final(0), name) for name in FinalSegment.__slots__ if name != "words"})
    told = book.attribute(bare, timed(3), [Turn(0, 100, B), Turn(100, EVER, A)])
    assert (told.speaker, told.words) == (A, None)
    assert book.revise({0: [Turn(0, 300, A)]}) == (), "the words' times only say who speaks most"
    assert book.revise({0: [Turn(0, 300, B)]}) == (RevisedSegment(0, B),)


def test_where_no_word_has_a_time_the_longest_turn_counts() -> None:
    told = SpeakerBook().attribute(final(0, words=0), [], [Turn(0, 300, A), Turn(300, 900, B)])
    assert told.speaker == B


def test_a_channel_without_text_has_no_speaker() -> None:
    assert by_channel(final(0, words=0, text="")).speaker is None
