"""Turns and words joined: every word has its speaker, and nothing that was said is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_protocol.transcript import Segment, Transcript, Turn, Word
from stream_server.speakers.labelling import label, speakers_at
from tests.formats.nasty import transcripts

A, B, C = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def segment_of(text: str, *times: tuple[int, int], words: tuple[str, ...] = ()) -> Segment:
    """A segment that begins 100 ms before its first word and ends as much behind its last."""
    spoken = zip(words or text.split(), times, strict=True)
    timed = tuple(Word(word, start, end, confidence=0.5) for word, (start, end) in spoken)
    return Segment(text, times[0][0] - 100, times[-1][1] + 100, 0.9, timed)


def labelled(segment: Segment, *turns: Turn) -> list[tuple[str | None, str]]:
    made = label(Transcript((segment,), "en", 10_000), turns)
    return [(piece.speaker, piece.text) for piece in made.segments]


@pytest.mark.parametrize(
    ("turns", "speaker"),
    [
        ((Turn(0, 1400, A), Turn(1400, 3000, B)), B),
        ((Turn(0, 1600, A), Turn(1600, 3000, B)), A),
        ((Turn(0, 9000, A), Turn(1000, 2000, B)), A),
        ((Turn(1000, 2000, A), Turn(0, 9000, B)), B),
        ((Turn(0, 1900, A), Turn(950, 2050, B)), B),
        ((Turn(1000, 1300, A), Turn(1300, 1700, B), Turn(1700, 2000, A)), A),
        ((Turn(0, 1200, A), Turn(1200, 1500, B), Turn(1800, 1900, A)), A),
        ((Turn(0, 500, A), Turn(2400, 3000, B)), B),
        ((Turn(0, 700, A), Turn(2400, 3000, B)), A),
        ((Turn(90_000, 91_000, B),), B),
        ((Turn(1500, 1500, B),), B),
        ((), None),
    ],
    ids=[
        "more of it is the second's",
        "more of it is the first's",
        "somebody's yes under a long turn",
        "the same, whoever came first",
        "but not where the long turn ends in it",
        "two turns of one, together",
        "as much each, and one of the first's is the longest",
        "nobody speaks, and the second is nearer",
        "nobody speaks, and the first is nearer",
        "however far that is",
        "a turn without length",
        "nobody ever speaks",
    ],
)
def test_who_speaks_between_1_and_2_seconds(turns: tuple[Turn, ...], speaker: str | None) -> None:
    assert speakers_at([(1000, 2000)], turns) == [speaker]


def test_a_word_without_length_has_a_speaker_too() -> None:
    assert speakers_at([(1500, 1500)], (Turn(0, 1000, A), Turn(1400, 3000, B))) == [B]
    assert speakers_at([(1000, 900)], (Turn(0, 999, A), Turn(1001, 5000, B))) == [B]


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    segment = segment_of("How are you?  Fine, thanks.", (100, 400), (400, 600), (600, 900), (1100, 1500), (1500, 2000))
    turns = (Turn(0, 1000, A), Turn(1050, 2100, B))
    made = label(Transcript((segment,), "en", 2500), turns)
    assert made.turns == turns
    assert [(piece.text, piece.start_ms, piece.end_ms, piece.confidence, piece.speaker) for piece in made.segments] == [
        ("How are you?", 0, 900, 0.5, A),
        ("Fine, thanks.", 1100, 2100, 0.5, B),
    ]
    assert [word.speaker for piece in made.segments for word in piece.words] == [A, A, A, B, B]


def test_a_segment_of_one_speaker_stays_as_it_is() -> None:
    segment = segment_of("How are  you?", (100, 400), (400, 600), (600, 900))
    (made,) = label(Transcript((segment,), "en", 2500), (Turn(0, 1000, B),)).segments
    assert (made.text, made.start_ms, made.end_ms, made.confidence) == ("How are  you?", 0, 1000, 0.9)
    assert {made.speaker, *(word.speaker for word in made.words)} == {B}


def test_a_script_without_spaces_is_cut_between_its_words() -> None:
    text = "元気ですか。はい、元気です。"
    words = ("元気", "ですか。", "はい、", "元気", "です。")
    segment = segment_of(text, (100, 300), (300, 700), (900, 1100), (1100, 1300), (1300, 1500), words=words)
    turns = (Turn(0, 800, A), Turn(800, 1600, B))
    assert labelled(segment, *turns) == [(A, "元気ですか。"), (B, "はい、元気です。")]


def test_a_word_that_is_said_again_is_cut_at_its_own_place() -> None:
    segment = segment_of("No no no yes.", (100, 400), (400, 700), (1100, 1400), (1400, 1800))
    assert labelled(segment, Turn(0, 800, A), Turn(1000, 2000, B)) == [(A, "No no"), (B, "no yes.")]


def test_a_single_word_of_another_must_be_clear() -> None:
    """The second word is more the other's, but not to a half; then it is; then it is, but the first one's as well."""
    segment = segment_of("I said no to him.", (0, 400), (400, 800), (800, 1200), (1200, 1400), (1400, 1800))
    assert labelled(segment, Turn(0, 550, A), Turn(590, 780, B), Turn(800, 2000, A)) == [(A, "I said no to him.")]
    assert labelled(segment, Turn(0, 560, A), Turn(560, 810, B), Turn(810, 2000, A)) == [
        (A, "I"),
        (B, "said"),
        (A, "no to him."),
    ]
    assert labelled(segment, Turn(0, 610, A), Turn(420, 800, B), Turn(790, 2000, A)) == [(A, "I said no to him.")]


def test_two_words_of_another_are_believed() -> None:
    segment = segment_of("I said no to him.", (0, 400), (400, 800), (800, 1200), (1200, 1400), (1400, 1800))
    turns = (Turn(0, 300, A), Turn(600, 700, B), Turn(900, 950, B), Turn(1300, 2000, A))
    assert labelled(segment, *turns) == [(A, "I"), (B, "said no"), (A, "to him.")]


def test_segments_without_words_have_the_speaker_of_most_of_their_time() -> None:
    assert labelled(Segment("Hm.", 0, 3000, 0.9), Turn(0, 1000, A), Turn(1000, 3000, B)) == [(B, "Hm.")]


def test_without_turns_there_are_no_speakers() -> None:
    segment = segment_of("I said no.", (0, 400), (400, 800), (800, 1200))
    assert labelled(segment) == [(None, "I said no.")]


def test_a_word_that_is_not_in_the_text_goes_with_the_one_before() -> None:
    segment = segment_of("I said.", (0, 400), (1000, 1400), (1400, 1800), words=("I", "um", "said."))
    assert labelled(segment, Turn(0, 500, A), Turn(900, 2000, B)) == [(A, "I"), (B, "said.")]


TURNS = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start, start + length, speaker),
        st.integers(0, 25_000),
        st.sampled_from((0, 1, 200, 1500, 20_000)),
        st.sampled_from((A, B, C)),
    ),
    max_size=8,
)


@given(transcripts(), TURNS)
def test_nothing_is_lost_and_every_word_has_a_speaker(transcript: Transcript, turns: list[Turn]) -> None:
    made = label(transcript, turns)
    before = [word for segment in transcript.segments for word in segment.words]
    after = [word for segment in made.segments for word in segment.words]
    assert [(word.word, word.start_ms, word.end_ms) for word in after] == [
        (word.word, word.start_ms, word.end_ms) for word in before
    ]
    assert "".join(made.text.split()) == "".join(transcript.text.split())
    for segment in made.segments:
        assert {word.speaker for word in segment.words} <= {segment.speaker}
        assert (segment.speaker is None) == (not turns)
        assert segment.start_ms <= segment.end_ms
    assert all(piece.text.strip() for piece in made.segments if piece.words), "no piece is empty"
    assert (made.language, made.duration_ms, made.turns) == (transcript.language, transcript.duration_ms, tuple(turns))


@given(TURNS, st.integers(0, 30_000), st.integers(0, 4000))
def test_who_speaks_most_is_found_by_counting_too(turns: list[Turn], start: int, length: int) -> None:
    """Against a count of the milliseconds in which each speaker speaks."""
    (speaker,) = speakers_at([(start, start + length)], turns)
    if not turns:
        assert speaker is None
        return
    shares = {
        name: sum(
            any(turn.start_ms <= moment < turn.end_ms for turn in turns if turn.speaker == name)
            for moment in range(start, start + length)
        )
        for name in {turn.speaker for turn in turns}
    }
    assert speaker is not None
    assert shares[speaker] == max(shares.values())
