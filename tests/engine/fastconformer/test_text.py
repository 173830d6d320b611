"""Tokens to text and words."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="the gpu extra is not installed")
pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.fastconformer.text import Transcript, Vocabulary, Word, timed_words
from stream_server.engine.hub import CheckpointError
from stream_server.engine.work import TimedWord
from tests.support.checkpoint import make_tokenizer

FRAME = 1280


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer("nemotron3_5_asr").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary.load(folder)


def ids(vocabulary: Vocabulary, *pieces: str) -> list[int]:
    """Token ids of pieces as the vocabulary file spells them."""
    names = vocabulary._tokenizer.get_vocab(with_added_tokens=True)
    return [names[piece] for piece in pieces]


def transcript(vocabulary: Vocabulary, *pieces: str) -> Transcript:
    result = Transcript(vocabulary)
    result.append(ids(vocabulary, *pieces))
    return result


def test_text_is_that_of_the_tokenizer(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode("the cat, a dog? red")
    result = Transcript(vocabulary)
    result.append(tokens)
    assert result.text == "the cat, a dog? red" == vocabulary._tokenizer.decode(list(tokens))


def test_characters_without_a_piece_are_spelled_in_bytes(vocabulary: Vocabulary) -> None:
    result = Transcript(vocabulary)
    result.append(vocabulary.encode("café €"))
    assert result.text == "café €"


def test_what_cannot_be_spelled_has_no_tokens(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode("the ñ") == ()
    assert vocabulary.encode("the <blank>") == ()
    assert vocabulary.encode("") == ()


def test_text_only_grows(vocabulary: Vocabulary) -> None:
    rng = random.Random(7)
    for _ in range(200):
        result, before = Transcript(vocabulary), ""
        for _ in range(20):
            result.append([rng.randrange(vocabulary._tokenizer.get_vocab_size()) for _ in range(rng.randrange(4))])
            assert result.text.startswith(before)
            assert not result.text.startswith(" ")
            assert not result.text.endswith(" ")
            before = result.text
        result.finish()
        assert result.text.startswith(before)
        assert " ".join(word.text for word in result.words()) == result.text


def test_chunks_do_not_matter(vocabulary: Vocabulary) -> None:
    rng = random.Random(8)
    tokens = [rng.randrange(vocabulary._tokenizer.get_vocab_size()) for _ in range(300)]
    whole, single = Transcript(vocabulary), Transcript(vocabulary)
    whole.append(tokens)
    for token in tokens:
        single.append([token])
    assert (whole.text, whole.words(), whole.language) == (single.text, single.words(), single.language)


def test_an_incomplete_character_waits(vocabulary: Vocabulary) -> None:
    result = transcript(vocabulary, "▁the", "▁", "<0xE2>", "<0x82>")
    assert result.text == "the"
    result.append(ids(vocabulary, "<0xAC>"))
    assert result.text == "the €"
    assert result.words() == [Word("the", 0, 1), Word("€", 1, 5)]


@pytest.mark.parametrize("follower", [None, "s", "<en-US>"])
def test_a_broken_character_is_replaced(vocabulary: Vocabulary, follower: str | None) -> None:
    result = transcript(vocabulary, "▁the", "<0xE2>", *([follower] if follower else []))
    result.finish()
    assert result.text == "the�" + ("s" if follower == "s" else "")


def test_one_broken_character_after_another(vocabulary: Vocabulary) -> None:
    result = transcript(vocabulary, "<0xE2>", "<0xE2>", "a")
    assert result.text == "��a"
    assert [word.text for word in result.words()] == ["��a"]


def test_a_character_may_straddle_a_cut(vocabulary: Vocabulary) -> None:
    before = transcript(vocabulary, "▁the", "▁", "<0xE2>")
    assert (before.text, before.pending) == ("the", b"\xe2")
    empty = Transcript(vocabulary, pending=before.pending)
    assert (empty.text, empty.pending) == ("", b"\xe2")
    after = Transcript(vocabulary, pending=empty.pending)
    after.append(ids(vocabulary, "<0x82>"))
    assert (after.text, after.pending) == ("", b"\xe2\x82")
    after.append(ids(vocabulary, "<0xAC>", "▁cat"))
    after.finish()
    assert (after.text, after.pending) == ("€ cat", b"")
    assert after.words() == [Word("€", 0, 2), Word("cat", 2, 3)]


@pytest.mark.parametrize("followers", [[], ["▁cat"], ["<en-US>"]])
def test_what_straddles_a_cut_and_is_not_completed_is_dropped(vocabulary: Vocabulary, followers: list[str]) -> None:
    after = Transcript(vocabulary, pending=b"\xe2\x82")
    after.append(ids(vocabulary, *followers))
    after.finish()
    assert after.text == ("cat" if followers == ["▁cat"] else "")
    assert after.pending == b""
    assert after.words() == ([Word("cat", 0, 1)] if after.text else [])


def test_a_cut_anywhere_loses_nothing(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode("é€é€€")
    for cut in range(len(tokens) + 1):
        before = Transcript(vocabulary)
        before.append(tokens[:cut])
        after = Transcript(vocabulary, pending=before.pending)
        after.append(tokens[cut:])
        after.finish()
        assert before.text + after.text == "é€é€€"


def test_a_language_tag_is_no_text(vocabulary: Vocabulary) -> None:
    result = transcript(vocabulary, "▁the", "▁cat", ".")
    assert result.language is None
    result.append(ids(vocabulary, "<de-DE>", "▁a", "▁dog", ".", "▁", "<en-US>"))
    assert result.text == "the cat. a dog."
    assert result.language == "en-US"
    assert result.words() == [Word("the", 0, 1), Word("cat.", 1, 3), Word("a", 4, 5), Word("dog.", 5, 7)]


def test_blank_padding_and_unknown_are_silent(vocabulary: Vocabulary) -> None:
    result = transcript(vocabulary, "▁the", "<blank>", "<unk>", "s", "<pad>")
    assert result.text == "thes"
    assert result.words() == [Word("thes", 0, 4)]
    result.append([9999])
    assert result.text == "thes"


def test_spaces_are_single_and_inside(vocabulary: Vocabulary) -> None:
    assert transcript(vocabulary, "▁", "▁", "▁the", "▁", "▁cat", "▁").text == "the cat"


def test_words_keep_their_punctuation(vocabulary: Vocabulary) -> None:
    result = transcript(vocabulary, "▁c", "a", "t", ",", "▁the", "▁", "?", "▁", "世", "界", "'", "s")
    assert result.text == "cat, the ? 世界's"
    assert result.words() == [Word("cat,", 0, 4), Word("the ?", 4, 7), Word("世界's", 7, 12)]


def test_words_are_placed_by_their_frames() -> None:
    words = [Word("a", 0, 1), Word("bc", 1, 3), Word("d", 3, 4)]
    logprobs = [math.log(0.5), math.log(0.9), math.log(0.4), 0.0]
    placed = timed_words(words, [2, 4, 9, 10], logprobs, frame_samples=FRAME, start=5000, end=5000 + 20 * FRAME)
    assert placed == (
        TimedWord("a", 5000 + 2 * FRAME, 5000 + 3 * FRAME, pytest.approx(0.5)),
        TimedWord("bc", 5000 + 4 * FRAME, 5000 + 10 * FRAME, pytest.approx(0.6)),
        TimedWord("d", 5000 + 10 * FRAME, 5000 + 11 * FRAME, 1.0),
    )


def test_words_of_one_frame_share_it() -> None:
    words = [Word("a", 0, 1), Word("b", 1, 3), Word("c", 3, 4)]
    placed = timed_words(words, [3, 3, 7, 5], [0.0] * 4, frame_samples=FRAME, start=0, end=20 * FRAME)
    half = 3 * FRAME + FRAME // 2
    assert [(word.start, word.end) for word in placed] == [
        (3 * FRAME, half),
        (half, 5 * FRAME),
        (5 * FRAME, 6 * FRAME),
    ]


def test_no_words_have_no_times() -> None:
    assert timed_words([], [], [], frame_samples=FRAME, start=0, end=10) == ()


def test_times_are_ordered_and_inside_the_segment() -> None:
    rng = random.Random(9)
    for _ in range(300):
        count = rng.randrange(1, 30)
        last = rng.randrange(1, 12)
        frames = sorted(rng.randrange(last) for _ in range(2 * count))
        # The last frame may begin at the segment's last sample, or be cut.
        end = 700 + (last - 1) * FRAME + rng.randrange(-200 if last > 1 else 100, FRAME)
        words = [Word(str(index), 2 * index, 2 * index + 2) for index in range(count)]
        placed = timed_words(words, frames, [-0.1] * len(frames), frame_samples=FRAME, start=700, end=end)
        assert placed[0].start >= 700
        assert placed[-1].end <= end
        assert all(word.end > word.start for word in placed)
        assert all(one.end <= two.start for one, two in pairwise(placed))


def test_a_missing_or_damaged_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Vocabulary.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Vocabulary.load(tmp_path)


def test_a_vocabulary_of_another_make(folder: Path, tmp_path: Path) -> None:
    content = (folder / "tokenizer.json").read_text(encoding="utf-8").replace("▁", "Ġ")
    assert json.loads(content)
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match="no SentencePiece"):
        Vocabulary.load(tmp_path)
