from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.tokenizer import FIRST_BYTE, FIRST_PIECE, Tokenizer

REAL = Tokenizer.load(find_assets().tokenizer)


def small(*pieces: str) -> Tokenizer:
    return Tokenizer([b""] * FIRST_PIECE + [piece.encode() for piece in pieces])


def test_reads_lengths_of_one_and_two_bytes(tmp_path: Path) -> None:
    long = "x" * 300
    file = tmp_path / "tokenizer.bin"
    file.write_bytes(bytes(FIRST_PIECE) + b"\x02ab" + bytes([300 % 128 + 128, 300 // 128]) + long.encode() + b"\x01c")
    tokenizer = Tokenizer.load(file)
    assert [tokenizer.decode([FIRST_PIECE + index]) for index in range(3)] == ["ab", long, "c"]
    assert len(tokenizer) == FIRST_PIECE + 3


def test_the_real_vocabulary_is_whole() -> None:
    assert len(REAL) == 32768
    assert REAL.decode(REAL.encode("It was the best of times, it was the worst of times.")) == (
        "It was the best of times, it was the worst of times."
    )


def test_start_and_end_add_no_text() -> None:
    assert REAL.decode([1, *REAL.encode("well"), 2]) == "well"


def test_raw_bytes_join_into_characters() -> None:
    tokens = [FIRST_BYTE + value for value in "né".encode()]
    assert REAL.decode(tokens) == "né"
    assert REAL.decode(tokens[:-1]) == "n\ufffd"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=40))
def test_encoded_text_decodes_to_itself(text: str) -> None:
    assert REAL.decode(REAL.encode(text)) == text


def test_words_start_at_a_space_and_keep_their_punctuation() -> None:
    tokenizer = small("▁It", "▁was", "n", "'t", ",", "▁", "▁cold", "...", "▁▁")
    at = FIRST_PIECE
    assert tokenizer.group([at, at + 1, at + 2, at + 3, at + 4, at + 6, at + 7]) == [
        ("It", 0, 1),
        ("wasn't,", 1, 5),
        ("cold...", 5, 7),
    ]


def test_a_lone_space_belongs_to_the_word_after_it() -> None:
    tokenizer = small("▁It", "▁", "▁is", "n")
    at = FIRST_PIECE
    assert tokenizer.group([at, at + 1, at + 3]) == [("It", 0, 1), ("n", 1, 3)]
    assert tokenizer.group([at, at + 1, at + 2]) == [("It", 0, 1), ("is", 1, 3)]
    assert tokenizer.group([at + 1, at + 2]) == [("is", 0, 2)]
    assert tokenizer.group([at + 1]) == []
    assert tokenizer.group([]) == []


@given(st.lists(st.integers(0, 32767), max_size=30))
def test_words_cover_tokens_in_order(tokens: list[int]) -> None:
    at = 0
    for word, first, last in REAL.group(tokens):
        assert word.strip() == word
        assert word
        assert at <= first < last <= len(tokens)
        at = last
    text = b"".join(REAL.pieces[token] for token in tokens).decode(errors="replace")
    words = "".join(word for word, _, _ in REAL.group(tokens))
    assert "".join(words.split()) == "".join(text.split())
