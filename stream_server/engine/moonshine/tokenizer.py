"""Reader of Moonshine's vocabulary file: token ids to text and back.

The file is a plain list of entries, each a length and that many bytes. U+2581 stands for a space; ids 3 to 258 are
single raw bytes, used for what no piece covers. This module does not know about audio, probabilities or words' times.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

UNKNOWN = 0
START = 1
END = 2
FIRST_BYTE = 3
FIRST_PIECE = FIRST_BYTE + 256
SPACE = "\u2581"


class Tokenizer:
    """An immutable vocabulary. `pieces[id]` is the UTF-8 text a token adds to the transcript, as bytes."""

    def __init__(self, pieces: list[bytes]) -> None:
        assert len(pieces) >= FIRST_PIECE
        space = SPACE.encode()
        special = [b""] * FIRST_BYTE
        raw = [bytes([value]) for value in range(256)]
        self.pieces = special + raw + [piece.replace(space, b" ") for piece in pieces[FIRST_PIECE:]]
        self._ids = {piece: FIRST_PIECE + index for index, piece in enumerate(self.pieces[FIRST_PIECE:])}
        self._longest = max(map(len, self._ids))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a `tokenizer.bin`. Lengths take one byte, or two if the first is at least 128 (low 7 bits first)."""
        data = path.read_bytes()
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            length = data[at]
            at += 1
            if length >= 128:
                length += data[at] * 128 - 128
                at += 1
            pieces.append(data[at : at + length])
            at += length
        return cls(pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of `tokens`, without the leading space; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.pieces[token] for token in tokens).decode(errors="replace").removeprefix(" ")

    def group(self, tokens: Iterable[int]) -> list[tuple[str, int, int]]:
        """Words of `tokens` as `(word, first, last)`: token positions first up to but not including last.

        A word starts at a piece that begins with a space, so punctuation stays with the word before it. Positions
        that add no visible text (a lone space) belong to the word that follows.
        """
        bounds: list[int] = []
        pieces = [self.pieces[token] for token in tokens]
        fresh = True
        for index, piece in enumerate(pieces):
            if index == 0 or (piece.startswith(b" ") and not fresh):
                bounds.append(index)
            fresh = not piece.strip() and (fresh or piece.startswith(b" "))
        bounds.append(len(pieces))
        words = [(b"".join(pieces[a:b]).decode(errors="replace").strip(), a, b) for a, b in pairwise(bounds)]
        return [word for word in words if word[0]]

    def encode(self, text: str) -> tuple[int, ...]:
        """Greedy longest-match tokens of `text`; they decode to it again, but need not be what the model would say."""
        data = (" " + text).encode()
        tokens: list[int] = []
        at = 0
        while at < len(data):
            for size in range(min(self._longest, len(data) - at), 0, -1):
                token = self._ids.get(data[at : at + size])
                if token is not None:
                    break
            else:
                size, token = 1, FIRST_BYTE + data[at]
            tokens.append(token)
            at += size
        return tuple(tokens)
