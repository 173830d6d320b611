"""Lightning's JSON, from the example of its document to odd words."""

from __future__ import annotations

import orjson
import pytest

from stream_protocol import Segment, Transcript, Word
from stream_server.formats.lightning import lightning_result

HELLO = Transcript(
    (
        Segment(
            "Hello, this is a sample.",
            0,
            3200,
            0.95,
            (Word("Hello,", 0, 500, 0.98), Word("this", 600, 800, 0.97), Word("sample.", 900, 3200, 0.9)),
        ),
    ),
    "en",
    3200,
)


def words_of(*words: str, split: bool) -> list[tuple[str, float, float]]:
    timed = tuple(Word(word, 1000 * number, 1000 * number + 500, 0.5) for number, word in enumerate(words))
    transcript = Transcript((Segment(" ".join(words), 0, 9000, 0.5, timed),), "en", 9000)
    result = lightning_result(transcript, timestamps=True, split_punctuation=split, request_id="")
    return [(entry["word"], entry["start"], entry["end"]) for entry in result["words"]]


def test_text_alone() -> None:
    assert lightning_result(HELLO, timestamps=False, split_punctuation=False, request_id="req_abc123") == {
        "request_id": "req_abc123",
        "text": "Hello, this is a sample.",
        "confidence": 0.95,
        "duration": 3.2,
        "language": "en",
    }


def test_words_stand_without_their_punctuation() -> None:
    result = lightning_result(HELLO, timestamps=True, split_punctuation=False, request_id="")
    assert result["words"] == [
        {"word": "Hello", "start": 0.0, "end": 0.5, "confidence": 0.98},
        {"word": "this", "start": 0.6, "end": 0.8, "confidence": 0.97},
        {"word": "sample", "start": 0.9, "end": 3.2, "confidence": 0.9},
    ]


def test_punctuation_as_words_of_no_length() -> None:
    result = lightning_result(HELLO, timestamps=True, split_punctuation=True, request_id="")
    assert result["words"][:3] == [
        {"word": "Hello", "start": 0.0, "end": 0.5, "confidence": 0.98},
        {"word": ",", "start": 0.5, "end": 0.5, "confidence": 1.0},
        {"word": "this", "start": 0.6, "end": 0.8, "confidence": 0.97},
    ]
    assert orjson.loads(orjson.dumps(result)) == result


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("“Yes?!”", ["“", "Yes", "?!”"]),
        ("¿Qué?", ["¿", "Qué", "?"]),
        ("don't", ["don't"]),
        ("3.50", ["3.50"]),
        ("50%.", ["50%", "."]),
        ("-5", ["-5"]),
        ("…", ["…"]),
        ("你好。", ["你好", "。"]),
        ("", []),
    ],
)
def test_what_is_part_of_a_word(word: str, parts: list[str]) -> None:
    assert [part for part, _, _ in words_of(word, split=True)] == parts
    bare = [part for part, _, _ in words_of(word, split=False)]
    assert bare == [part for part in parts if any(letter.isalnum() for letter in part)]


def test_marks_before_a_word_stand_at_its_start_and_those_behind_at_its_end() -> None:
    assert words_of("first", "(then)", split=True)[1:] == [("(", 1.0, 1.0), ("then", 1.0, 1.5), (")", 1.5, 1.5)]


def test_silence() -> None:
    result = lightning_result(Transcript((), "en", 1500), timestamps=True, split_punctuation=True, request_id="")
    assert (result["text"], result["confidence"], result["words"], result["duration"]) == ("", 0.0, [], 1.5)
    assert "speakers" not in result


def test_silence_in_which_speakers_were_to_be_told_apart() -> None:
    silence = Transcript((), "en", 1500)
    result = lightning_result(silence, timestamps=False, split_punctuation=False, request_id="", diarized=True)
    assert result["speakers"] == []


def test_confidence_without_words_is_that_of_the_segments_by_their_length() -> None:
    transcript = Transcript((Segment("a", 0, 3000, 1.0), Segment("b", 3000, 4000, 0.6)), "en", 4000)
    assert lightning_result(transcript, timestamps=False, split_punctuation=False, request_id="")["confidence"] == 0.9


def test_speakers_take_turns() -> None:
    said = (
        Segment("Hello.", 0, 800, 0.9, speaker="SPEAKER_00"),
        Segment("You.", 850, 950, 0.9, speaker="SPEAKER_00"),
        Segment("Hi there!", 1000, 1800, 0.9, speaker="SPEAKER_01"),
    )
    result = lightning_result(Transcript(said, "en", 2000), timestamps=False, split_punctuation=False, request_id="")
    assert result["speakers"] == [
        {"speaker": "SPEAKER_00", "text": "Hello. You.", "start": 0.0, "end": 0.95},
        {"speaker": "SPEAKER_01", "text": "Hi there!", "start": 1.0, "end": 1.8},
    ]
