from __future__ import annotations

import pytest

from stream_server.engine.transformers.vocabulary import Vocabulary

PIECES = [b"", b" it", b" was", b"n't", b",", b" ", b" caf", b"\xc3", b"\xa9", "世界".encode(), "人".encode(), b"a"]
VOCABULARY = Vocabulary(PIECES)
SILENT, IT, WAS, NT, COMMA, SPACE, CAF, HIGH, LOW, WORLD, PERSON, A = range(len(PIECES))


def test_text_is_the_pieces_one_after_the_other() -> None:
    assert VOCABULARY.decode([SILENT, IT, WAS, NT, COMMA, CAF, HIGH, LOW]) == "it wasn't, café"
    assert VOCABULARY.decode([]) == ""
    assert VOCABULARY.decode([CAF, HIGH]) == "caf\ufffd"


def test_tokens_without_text_are_known() -> None:
    assert VOCABULARY.silent == (SILENT,)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([], []),
        ([SILENT], []),
        ([IT, WAS, NT, COMMA, CAF, HIGH, LOW], [("it", 0, 1), ("wasn't,", 1, 4), ("café", 4, 7)]),
        ([SPACE, A, SPACE, IT], [("a", 0, 2), ("it", 2, 4)]),
        ([A, WORLD, PERSON, COMMA, WORLD], [("a", 0, 1), ("世界", 1, 2), ("人,", 2, 4), ("世界", 4, 5)]),
    ],
)
def test_words(tokens: list[int], words: list[tuple[str, int, int]]) -> None:
    assert VOCABULARY.group(tokens) == words


def test_the_text_of_the_first_words_begins_the_whole_text() -> None:
    tokens = [IT, WAS, NT, COMMA, CAF, HIGH, LOW, SPACE, WORLD, PERSON, A, IT]
    text = VOCABULARY.decode(tokens)
    for _, _, last in VOCABULARY.group(tokens):
        assert text.startswith(VOCABULARY.decode(tokens[:last]))


def test_of_byte_level_tokenizers() -> None:
    transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")
    tokenizer = transformers.WhisperTokenizer(vocab={"Ġ": 0, "a": 1, "Ã": 2, "©": 3, "<|endoftext|>": 4})
    tokenizer.add_tokens([transformers.AddedToken("<|0.02|>", special=False)])
    assert Vocabulary.of(tokenizer, 8).pieces == (b" ", b"a", b"\xc3", b"\xa9", b"", b"", b"", b"")


def test_of_sentencepiece_tokenizers() -> None:
    pytest.importorskip("transformers", reason="the gpu extra is not installed")
    from tests.support.checkpoint import make_tokenizer

    tokenizer = make_tokenizer()
    vocabulary = Vocabulary.of(tokenizer, len(tokenizer))
    ids = tokenizer("the café, 世界").input_ids
    assert vocabulary.decode(ids) == "the café, 世界"
    assert vocabulary.pieces[tokenizer.convert_tokens_to_ids("<blank>")] == b""
