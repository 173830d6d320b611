"""What is asked of a backend and what it answers, and the greedy bookkeeping of one clip in between.

Greedy decoding only. Both backends, ONNX Runtime on the CPU and torch on a device, compute passes over the tokens that
are pending and hand the choices to `Row`, so that prefixes, drafts, the length cap and repetitions mean the same in
both. Networks, text and words are not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.moonshine.tokenizer import END, START
from stream_server.engine.repetition import find_loop

SAMPLE_RATE = 16000
MINIMUM_SAMPLES = 4000
MAXIMUM_SAMPLES = 64 * SAMPLE_RATE
TOKENS_PER_SECOND = 6.5
MINIMUM_TOKENS = 6


@dataclass(frozen=True)
class Request:
    """One clip to decode.

    `audio` is 16 kHz mono, at most 64 s; below a quarter of a second it is padded with zeros. The output starts with
    `prefix` whatever the model thinks of it. `draft` is a guess of what follows: it is checked in one pass and kept as
    far as it equals the greedy choice, so it changes the cost and never the result. `align` asks for attention.
    """

    audio: NDArray[np.float32]
    prefix: tuple[int, ...] = ()
    draft: tuple[int, ...] = ()
    align: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """What was heard in one clip.

    `tokens` include the prefix, without start and end. `logprobs` has one natural logarithm per token; a forced token
    counts as certain (0.0), for the vocabulary is not evaluated there. `frames` is the number of encoder frames, 384
    samples apart. `attention`, where asked for, is `[2, tokens, frames]`: the weights of the head that points at the
    start of a word, while each token was chosen, and of the one that points at its end, after each token was read
    (zeros for a last token that was never read, because the hypothesis was cut there). `truncated`: the length cap was
    reached. `looped`: a repetition was cut back to one occurrence.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    frames: int
    attention: NDArray[np.float32] | None
    truncated: bool
    looped: bool


class Backend(Protocol):
    """The network on some device; `description` says which."""

    description: str

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """Greedy hypotheses of `requests`, in their order. Raises ValueError for a clip unlike what `Request` says."""
        ...

    def warm_up(self, longest: int, clips: int) -> None:
        """Take all memory there will be need of, for `clips` at a time of up to `longest` samples."""
        ...


def clip_of(request: Request) -> NDArray[np.float32]:
    """The audio as the network wants it. Raises ValueError if it is not what `Request` says."""
    audio = request.audio
    if audio.ndim != 1 or len(audio) > MAXIMUM_SAMPLES:
        raise ValueError(f"a clip is one channel of at most {MAXIMUM_SAMPLES} samples, not {audio.shape}")
    if not np.isfinite(audio).all():
        raise ValueError("a clip is of finite numbers")
    audio = np.asarray(audio, np.float32)
    return audio if len(audio) >= MINIMUM_SAMPLES else np.pad(audio, (0, MINIMUM_SAMPLES - len(audio)))


def token_cap(samples: int) -> int:
    """Most tokens of a clip of so many samples; what is longer is a repetition."""
    return max(MINIMUM_TOKENS, int(TOKENS_PER_SECOND * samples / SAMPLE_RATE))


class Row:
    """One clip being decoded: its tokens so far, and those that are to be read next."""

    def __init__(self, request: Request, frames: int) -> None:
        prefix = request.prefix
        self.request = request
        self.frames = frames
        self.cap = token_cap(len(request.audio))
        self.tokens = list(prefix)
        self.logprobs = [0.0] * len(prefix)
        self.truncated = self.looped = self.done = False
        self.pending = [START, *prefix, *request.draft[: max(0, self.cap - len(prefix) - 1)]]
        self.first = len(prefix)  # position among the pending from which on choices are wanted

    def take(self, choices: Sequence[int], logprobs: Sequence[float]) -> int:
        """Accept the choices made after each pending token from `first` on, up to the first that was not foreseen.

        Returns how many of the pending tokens stay in the cache.
        """
        used = self.first
        if len(self.tokens) >= self.cap:  # the prefix fills the clip
            self.truncated = self.done = True
            return used + 1
        for choice, logprob in zip(choices, logprobs, strict=True):
            used += 1
            self._accept(choice, logprob)
            if self.done or self.pending[used : used + 1] != [choice]:
                break
        self.pending, self.first = [choice], 0
        return used

    def _accept(self, token: int, logprob: float) -> None:
        if token == END:
            self.done = True
            return
        self.tokens.append(token)
        self.logprobs.append(logprob)
        keep = find_loop(self.tokens)
        if keep is not None:
            keep = max(keep, len(self.request.prefix))
            del self.tokens[keep:], self.logprobs[keep:]
            self.looped = self.done = True
        elif len(self.tokens) >= self.cap:
            self.truncated = self.done = True

    def hypothesis(self, looks: NDArray[np.float32] | None) -> Hypothesis:
        """The outcome. `looks [2, positions, frames or more]`: where the two heads looked as each position was read,
        the start token included."""
        attention = None
        if looks is not None:
            attention = np.zeros((2, len(self.tokens), self.frames), np.float32)
            attention[0] = looks[0, : len(self.tokens), : self.frames]
            read = looks[1, 1 : len(self.tokens) + 1, : self.frames]
            attention[1, : len(read)] = read
        return Hypothesis(tuple(self.tokens), tuple(self.logprobs), self.frames, attention, self.truncated, self.looped)
