"""Tokens to text, the same way for every tokenizer: each token is the bytes that it adds to the transcript.

So the text of some tokens is the beginning of the text of more tokens, whatever the tokenizer's own decoder would tidy
up. It does not know about audio, probabilities or times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACE = "\u2581"  # of SentencePiece
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_CONTROL = re.compile(r"<\|.*\|>")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]"
)
"""Letters of scripts that put no space between words: Thai, Lao, Burmese, Khmer, Chinese and Japanese."""


class Vocabulary:
    """An immutable vocabulary. ``pieces[id]``: the UTF-8 bytes that a token adds; none for what is not text."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = tuple(pieces)
        self.silent = tuple(token for token, piece in enumerate(self.pieces) if not piece)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
        """The vocabulary of a tokenizer, for a model with ``size`` outputs."""
        added = tokenizer.added_tokens_decoder
        hidden = {token for token, entry in added.items() if entry.special or _CONTROL.fullmatch(entry.content)}
        hidden |= set(tokenizer.all_special_ids)
        tokens = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
        delimiter = getattr(tokenizer, "word_delimiter_token", None)
        to_bytes = _byte_level if _is_byte_level(tokenizer) else _plain
        pieces = [
            b"" if number in hidden or token is None else b" " if token == delimiter else to_bytes(token)
            for number, token in enumerate(tokens)
        ]
        return cls([*pieces, *[b""] * (size - len(pieces))])

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of ``tokens``, without the leading space; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.pieces[token] for token in tokens).decode(errors="replace").removeprefix(" ")

    def group(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Words of ``tokens`` as ``(word, first, last)``: token positions first up to but not including last.

        A word begins at a piece that begins with a space, or with a letter of a script without spaces, so punctuation
        stays with the word before it. Positions that add no visible text belong to the word that follows.
        """
        bounds: list[int] = []
        pieces = [self.pieces[token] for token in tokens]
        fresh = True
        for index, piece in enumerate(pieces):
            if index == 0 or (not fresh and _begins_word(pieces, index)):
                bounds.append(index)
                fresh = True
            fresh = fresh and not piece.strip()
        bounds.append(len(pieces))
        words = [(b"".join(pieces[a:b]).decode(errors="replace").strip(), a, b) for a, b in pairwise(bounds)]
        return [word for word in words if word[0]]


def _begins_word(pieces: Sequence[bytes], index: int) -> bool:
    if pieces[index].startswith(b" "):
        return True
    # A letter may be spread over several tokens; one that goes on (10xxxxxx) begins nothing.
    letters = b"".join(pieces[index : index + 3])
    if not letters or letters[0] & 0xC0 == 0x80:
        return False
    return _UNSPACED.match(letters.decode(errors="replace")) is not None


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in json.dumps(json.loads(backend.to_str())["decoder"])


def _plain(token: str) -> bytes:
    if (match := _BYTE.fullmatch(token)) is not None:
        return bytes([int(match[1], 16)])
    return token.replace(_SPACE, " ").encode()


def _byte_level(token: str) -> bytes:
    return bytes(_BYTES[letter] for letter in token)


def _byte_alphabet() -> dict[str, int]:
    """Byte-level tokenizers (GPT-2) write bytes as letters: printable Latin-1 as itself, others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_alphabet()
