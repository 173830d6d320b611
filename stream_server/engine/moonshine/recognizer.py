"""Moonshine behind the engine's interface: segments in, hypotheses with a stable prefix out.

A segment is decoded anew each time, its committed tokens forced and the last hypothesis offered as a draft, so that a
decode costs one encoder pass, one decoder pass and a few tokens. Two measures against a small model's nerves, both
measured in docs/decisions/003-stable-prefix.md: decodes in a row look at the audio from slightly different starts, so
that words agree only if they survive that; and a final is the likelier of two such readings.

It knows nothing of other callers, of load or of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stream_server.engine.commitment import CommitmentSettings, Decode, committed_words
from stream_server.engine.likelihood import confidence, mean_logprob
from stream_server.engine.moonshine.alignment import align_words
from stream_server.engine.moonshine.architecture import HOP
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.phantom import PhantomSettings, is_phantom, is_stock_phrase
from stream_server.engine.moonshine.request import Backend, Request
from stream_server.engine.moonshine.request import Hypothesis as Reading
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings
from stream_server.engine.moonshine.tokenizer import Tokenizer
from stream_server.engine.recognizer import Kind, RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import SAMPLE_RATE, Hypothesis, TimedWord

LANGUAGE = "en"
CLOSING = (Kind.FINAL, Kind.PREVIEW)
COMMITTING = (Kind.STEP, Kind.PREVIEW)


@dataclass(frozen=True, slots=True)
class MoonshineSettings:
    """``step_samples``: distance of the decodes that may commit. ``shift``: by how many samples two readings differ.
    ``margin``: samples of a segment that are not speech, before and after it. ``device``: in place of ``threads``,
    ``max_batch`` and ``max_step_samples`` where the model runs in torch."""

    threads: int = 1
    step_samples: int = SAMPLE_RATE // 2
    shift: int = 1_280
    margin: int = 9 * SAMPLE_RATE // 10
    max_batch: int = 16
    max_step_samples: int = 40 * SAMPLE_RATE
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)
    phantom: PhantomSettings = field(default_factory=PhantomSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True, slots=True)
class _Progress:
    """What is known of a segment: replaced as a whole after a step, so that a failed step changes nothing."""

    segment_id: int = -1
    tokens: tuple[int, ...] = ()  # committed
    logprobs: tuple[float, ...] = ()  # of the committed tokens, as they were when committed
    words: int = 0  # committed
    draft: tuple[int, ...] = ()  # the last hypothesis
    history: tuple[Decode, ...] = ()
    steps: int = 0
    preview: tuple[int, Hypothesis] | None = None  # the final, if the segment ends after so many samples


@dataclass(slots=True)
class _Attempt:
    """One task in the middle of a step: what it was asked with, and the best reading so far."""

    task: Task
    state: _Progress
    request: Request
    shift: int  # samples of the segment left out at its start
    reading: Reading | None = None

    @property
    def fresh(self) -> tuple[float, ...]:
        """Log-probabilities of the tokens that were not forced."""
        assert self.reading is not None
        return self.reading.logprobs[len(self.state.tokens) :]

    @property
    def logprobs(self) -> tuple[float, ...]:
        """One per token; for forced ones as they were when committed."""
        return self.state.logprobs + self.fresh


class MoonshineStream(Stream):
    """One caller's segment in progress."""

    def __init__(self) -> None:
        self.progress = _Progress()


class MoonshineRecognizer:
    """The embedded English model. Segment kind: see `engine.recognizer`."""

    def __init__(self, assets: Assets, settings: MoonshineSettings, backend: Backend | None = None) -> None:
        """``backend`` is the network; ONNX Runtime on the CPU if None. Raises WeightError for other files."""
        self._settings = settings
        self._model = backend or Model(assets, threads=settings.threads)
        self._tokenizer = Tokenizer.load(assets.tokenizer)
        self.info = RecognizerInfo(
            name="moonshine-tiny",
            kind="segment",
            languages=(LANGUAGE,),
            description=f"Moonshine tiny, 27 M parameters, English, {self._model.description}",
            step_samples=settings.step_samples,
            max_batch=settings.max_batch,
            max_step_samples=settings.max_step_samples,
        )

    def new_stream(self, slot: Slot) -> Stream:
        return MoonshineStream()

    def warm_up(self) -> None:
        """Decode the longest clips there can be, so that all memory is taken before the first caller comes."""
        self._model.warm_up(round(self.info.max_segment_sec * SAMPLE_RATE), self._settings.max_batch)

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        """Decode one batch; see `engine.recognizer.Recognizer.step`."""
        attempts = [self._attempt(task) for task in tasks]
        fresh = [attempt for attempt in attempts if _prepared(attempt) is None]
        second = [self._shifted(attempt) for attempt in fresh if self._is_read_twice(attempt)]
        self._read([*fresh, *second])
        for attempt, other in zip(filter(self._is_read_twice, fresh), second, strict=True):
            if mean_logprob(other.fresh) > mean_logprob(attempt.fresh):
                attempt.reading, attempt.shift = other.reading, other.shift
        results = [self._conclude(attempt) for attempt in attempts]
        for task, (_, progress) in zip(tasks, results, strict=True):
            assert isinstance(task.stream, MoonshineStream)
            task.stream.progress = progress
        return [hypothesis for hypothesis, _ in results]

    def _attempt(self, task: Task) -> _Attempt:
        assert isinstance(task.stream, MoonshineStream)
        state = task.stream.progress
        if state.segment_id != task.segment_id:
            state = _Progress(task.segment_id)
        done = len(state.tokens)
        draft = state.draft[done:] if state.draft[:done] == state.tokens else ()
        # The start of a segment is pre-roll, not speech: a little of it can go, in turns.
        shift = self._settings.shift if task.kind is Kind.STEP and state.steps % 2 else 0
        align = task.kind in COMMITTING or (task.kind is Kind.FINAL and task.options.words)
        return _Attempt(task, state, Request(task.audio[shift:], state.tokens, draft, align), shift)

    def _read(self, attempts: Sequence[_Attempt]) -> None:
        readings = self._model.decode([attempt.request for attempt in attempts])
        for attempt, reading in zip(attempts, readings, strict=True):
            attempt.reading = reading

    def _is_read_twice(self, attempt: _Attempt) -> bool:
        """Finals are read from two starts, and the likelier reading is kept."""
        return attempt.task.kind in CLOSING and len(attempt.task.audio) > 4 * self._settings.shift

    def _shifted(self, attempt: _Attempt) -> _Attempt:
        shift = self._settings.shift
        request = replace(attempt.request, audio=attempt.request.audio[shift:])
        return _Attempt(attempt.task, attempt.state, request, shift)

    def _conclude(self, attempt: _Attempt) -> tuple[Hypothesis, _Progress]:
        """The hypothesis of an attempt, and the segment's progress after it."""
        task, state, reading = attempt.task, attempt.state, attempt.reading
        if (prepared := _prepared(attempt)) is not None:
            return prepared, _Progress()
        assert reading is not None
        phantom = self._is_phantom(attempt)
        if task.kind is Kind.FINAL:
            return self._final(attempt, phantom), _Progress()
        progress = replace(state, draft=reading.tokens, preview=None)
        if task.kind in COMMITTING and task.options.partial_samples is not None:
            progress = self._commit(progress, attempt, may_commit=not phantom)
        if task.kind is Kind.PREVIEW:
            progress = replace(progress, preview=(len(task.audio), self._final(attempt, phantom)))
        stable = self._tokenizer.decode(progress.tokens)
        text = self._tokenizer.decode(reading.tokens)
        if not state.tokens and is_stock_phrase(
            text, self._seconds(task), mean_logprob(attempt.fresh), self._settings.phantom
        ):
            text = ""
        return Hypothesis(text, len(stable), confidence(attempt.logprobs), LANGUAGE), progress

    def _is_phantom(self, attempt: _Attempt) -> bool:
        assert attempt.reading is not None
        if attempt.state.tokens:  # what was declared stable was heard
            return False
        text = self._tokenizer.decode(attempt.reading.tokens)
        seconds = self._seconds(attempt.task)
        return is_phantom(text, seconds, mean_logprob(attempt.fresh), attempt.reading.looped, self._settings.phantom)

    def _seconds(self, task: Task) -> float:
        """How much of a task's audio is speech, about."""
        return max(0, len(task.audio) - self._settings.margin) / SAMPLE_RATE

    def _final(self, attempt: _Attempt, phantom: bool) -> Hypothesis:
        assert attempt.reading is not None
        text = "" if phantom else self._tokenizer.decode(attempt.reading.tokens)
        words: tuple[TimedWord, ...] | None = None
        if attempt.task.options.words:
            words = self._timed_words(attempt) if text else ()
        return Hypothesis(text, len(text), confidence(attempt.logprobs) if text else 0.0, LANGUAGE, words)

    def _commit(self, state: _Progress, attempt: _Attempt, *, may_commit: bool) -> _Progress:
        assert attempt.reading is not None
        tokens, logprobs = attempt.reading.tokens, attempt.logprobs
        groups = self._tokenizer.group(tokens)
        decode = Decode(
            tuple(tokens[first:last] for _, first, last in groups),
            tuple(min(logprobs[first:last]) for _, first, last in groups),
            tuple(self._age(attempt.reading, last - 1) for _, _, last in groups),
        )
        settings = self._settings.commitment
        history = (*state.history, decode)[-settings.memory :]
        at_pause = attempt.task.kind is Kind.PREVIEW
        words = committed_words(history, state.words, settings, at_pause=at_pause) if may_commit else state.words
        end = groups[words - 1][2] if words > state.words else len(state.tokens)
        return replace(
            state,
            tokens=tokens[:end],
            logprobs=logprobs[:end],
            words=words,
            history=history,
            steps=state.steps + 1,
        )

    def _age(self, reading: Reading, token: int) -> float:
        """About how many seconds before the end of the audio a word ended, by where its last token looks."""
        assert reading.attention is not None
        return (reading.frames - int(reading.attention[1, token].argmax())) * HOP / SAMPLE_RATE

    def _timed_words(self, attempt: _Attempt) -> tuple[TimedWord, ...]:
        task, reading, shift = attempt.task, attempt.reading, attempt.shift
        assert reading is not None
        assert reading.attention is not None
        groups = self._tokenizer.group(reading.tokens)
        times = align_words(groups, reading.attention, task.audio[shift:])
        return tuple(
            TimedWord(
                word, task.start + shift + start, task.start + shift + end, confidence(attempt.logprobs[first:last])
            )
            for (word, first, last), (_, start, end) in zip(groups, times, strict=True)
        )


def _prepared(attempt: _Attempt) -> Hypothesis | None:
    """The final that a preview has worked out already, if the segment did end there."""
    preview = attempt.state.preview
    if attempt.task.kind is not Kind.FINAL or preview is None or preview[0] != len(attempt.task.audio):
        return None
    if attempt.task.options.words and preview[1].words is None:  # they were not asked for then
        return None
    return preview[1]
