"""From tokens to text: the vocabulary of a checkpoint, text that only ever grows, and words with their times.

The vocabulary is SentencePiece's (Kudo and Richardson 2018, arXiv:1808.06226) in the file of the tokenizers library:
"▁" in a piece is a space, ``<0x41>`` a byte of a character that no piece covers. Knows no audio and no tensors.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Self

from tokenizers import Tokenizer

from stream_server.engine.hub import CheckpointError
from stream_server.engine.likelihood import confidence
from stream_server.engine.work import TimedWord

_SPACE = "▁"
_UNKNOWN = "<unk>"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LANGUAGE = re.compile(r"▁?<([a-z]{2,3}-[A-Za-z]{2,4})>")
_CLOSING = frozenset(".,:;?!…»”’)]}%")
"""What belongs to the word before it even where, as in French, a space is written between."""


class Vocabulary:
    """What each token stands for; a token in none of the tables, such as the blank, stands for no text.

    ``pieces``: the text it adds, its spaces as spaces. ``bytes``: the single byte it adds. ``languages``: the language
    that it says was spoken, such as ``en-US``.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.pieces: dict[int, str] = {}
        self.bytes: dict[int, bytes] = {}
        self.languages: dict[int, str] = {}
        special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
        for piece, token in tokenizer.get_vocab(with_added_tokens=True).items():
            if match := _LANGUAGE.fullmatch(piece):
                self.languages[token] = match[1]
            elif match := _BYTE.fullmatch(piece):
                self.bytes[token] = bytes.fromhex(match[1])
            elif token not in special and piece != _UNKNOWN:
                self.pieces[token] = piece.replace(_SPACE, " ")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the ``tokenizer.json`` in ``folder``.

        Raises:
            CheckpointError: it is missing, damaged, or of a make other than SentencePiece's.
        """
        path = folder / "tokenizer.json"
        try:
            vocabulary = cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except Exception as error:  # tokenizers has no narrower one
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not any(piece.startswith(" ") for piece in vocabulary.pieces.values()):
            raise CheckpointError(f"{path} is no SentencePiece vocabulary: no piece begins with {_SPACE}")
        return vocabulary

    def encode(self, text: str) -> tuple[int, ...]:
        """The tokens that spell ``text`` as words of their own; none if it has a character that they cannot spell."""
        tokens = tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return tokens if all(token in self.pieces or token in self.bytes for token in tokens) else ()


class Word(NamedTuple):
    """A word of a transcript, and its tokens: from ``first`` up to but not including ``last``."""

    text: str
    first: int
    last: int


class Transcript:
    """The text of one segment, token by token. Work and memory of an append are those of its tokens.

    ``text`` after more tokens always begins with ``text`` before: a space waits for what follows it, a byte for the
    rest of its character. ``language`` is what the last language token said. ``pending``: what the segment before left
    of a character, if this one goes on where that was cut; it is part of no text unless the rest of it follows.
    """

    def __init__(self, vocabulary: Vocabulary, *, pending: bytes = b"") -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._decoder.decode(pending)
        self._has_bytes = bool(pending)
        self._has_space = False
        self._tokens = 0
        self._waiting: int | None = None  # the first token that is not in the text yet
        self._runs: list[tuple[int, int]] = []  # tokens first to last that brought a piece of the text,
        self._ends: list[int] = []  # and how long the text was with it
        self.text = ""
        self.language: str | None = None

    def append(self, tokens: Iterable[int]) -> None:
        """Add the tokens that were emitted next; the blank is not among them, or adds nothing."""
        pieces, raw = self._vocabulary.pieces, self._vocabulary.bytes
        for token in tokens:
            byte = raw.get(token)
            if byte is None:
                self.finish()
            if self._waiting is None:
                self._waiting = self._tokens
            self._tokens += 1
            if byte is not None:
                self._has_bytes = True
                self._write(self._decoder.decode(byte))
            elif (piece := pieces.get(token)) is not None:
                self._write(piece)
            else:
                self._waiting = None
                self.language = self._vocabulary.languages.get(token, self.language)

    @property
    def pending(self) -> bytes:
        """The bytes of a character whose rest has not come; they are not in the text yet."""
        return self._decoder.getstate()[0]

    def finish(self) -> None:
        """Give up waiting for the rest of a character: a replacement character stands for what came of it."""
        if self._has_bytes:
            self._has_bytes = False
            rest = self._decoder.decode(b"", final=True)
            if self._tokens:  # of what the segment before left nothing was emitted here
                self._write(rest)

    def words(self) -> list[Word]:
        """The words so far: what stands between spaces, with the punctuation that is attached to it.

        A language that is written without spaces gives one word for as much as it writes without one.
        """
        words: list[Word] = []
        for match in re.finditer(r"[^ ]+", self.text):
            first, _ = self._runs[bisect_right(self._ends, match.start())]
            _, last = self._runs[bisect_left(self._ends, match.end())]
            if words and _CLOSING.issuperset(match[0]):
                words[-1] = Word(f"{words[-1].text} {match[0]}", words[-1].first, last)
            else:
                words.append(Word(match[0], first, last))
        return words

    def _write(self, text: str) -> None:
        visible = text.strip(" ")
        if not visible:
            self._has_space |= bool(text)
            return
        if self.text and (self._has_space or text[0] == " "):
            self.text += " "
        self.text += visible
        self._has_space = text[-1] == " "
        self._runs.append((self._tokens - 1 if self._waiting is None else self._waiting, self._tokens))
        self._ends.append(len(self.text))
        self._waiting = None


def timed_words(
    words: Sequence[Word],
    frames: Sequence[int],
    logprobs: Sequence[float],
    *,
    frame_samples: int,
    start: int,
    end: int,
) -> tuple[TimedWord, ...]:
    """Place the words of a segment in the stream: ordered, not overlapping, each at least a sample long.

    A word lasts from the frame of its first token to the end of that of its last, or to the next word. Words that begin
    in the same frame share it.

    Args:
        words: of `Transcript.words`.
        frames: for each token, the frame of the segment at which it was emitted; never decreasing.
        logprobs: for each token, the logarithm of its probability.
        frame_samples: samples of a frame.
        start, end: the segment, in samples of the stream; it has at least as many samples as words.
    """
    if not words:
        return ()
    starts: list[int] = []
    for frame, group in groupby(frames[word.first] for word in words):
        count = len(list(group))
        starts += [frame * frame_samples + frame_samples * index // count for index in range(count)]
    ends = [
        min((frames[word.last - 1] + 1) * frame_samples, following)
        for word, following in zip(words, [*starts[1:], end - start], strict=True)
    ]
    # The last frame of a segment may begin after its last sample: what does not fit moves forward.
    limit = end - start
    for index in reversed(range(len(words))):
        ends[index] = min(ends[index], limit)
        starts[index] = limit = min(starts[index], ends[index] - 1)
    return tuple(
        TimedWord(word.text, start + begin, start + finish, confidence(logprobs[word.first : word.last]))
        for word, begin, finish in zip(words, starts, ends, strict=True)
    )
