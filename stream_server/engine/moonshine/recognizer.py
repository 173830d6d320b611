"""Moonshine behind the engine's interface: segments in, hypotheses with a stable prefix out.

A segment is decoded anew each time, its committed tokens forced and the last hypothesis offered as a draft, so that a
decode costs one encoder pass, one decoder pass and a few tokens. Two measures against a small model's nerves, both
measured in docs/decisions/003-stable-prefix.md: decodes in a row look at the audio from slightly different starts, so
that words agree only if they survive that; and a final is the likelier of two such readings.

It knows nothing of other callers, of load or of time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stream_server.engine.moonshine.alignment import align_words
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.commitment import CommitmentSettings, Decode, committed_words
from stream_server.engine.moonshine.model import Hypothesis as Reading
from stream_server.engine.moonshine.model import Model, Request
from stream_server.engine.moonshine.tokenizer import Tokenizer
from stream_server.engine.recognizer import Kind, RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import SAMPLE_RATE, Hypothesis, TimedWord

LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class MoonshineSettings:
    """``step_samples``: distance of the decodes that may commit. ``shift``: by how many samples two readings differ.
    ``second_below``: a final whose mean log-probability is above it is not read a second time. ``empty_below``: one
    whose mean log-probability is below it is taken for noise."""

    threads: int = 1
    step_samples: int = SAMPLE_RATE // 2
    shift: int = 1_280
    second_below: float = -0.05
    empty_below: float = -1.6
    max_batch: int = 16
    max_step_samples: int = 40 * SAMPLE_RATE
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)


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


class MoonshineStream(Stream):
    """One caller's segment in progress."""

    def __init__(self) -> None:
        self.progress = _Progress()


class MoonshineRecognizer:
    """The embedded English model. Segment kind: see `engine.recognizer`."""

    def __init__(self, assets: Assets, settings: MoonshineSettings) -> None:
        self._settings = settings
        self._model = Model(assets, threads=settings.threads)
        self._tokenizer = Tokenizer.load(assets.tokenizer)
        self.info = RecognizerInfo(
            name="moonshine-tiny",
            kind="segment",
            languages=(LANGUAGE,),
            description="Moonshine tiny, 27 M parameters, English, on ONNX Runtime (CPU)",
            step_samples=settings.step_samples,
            max_batch=settings.max_batch,
            max_step_samples=settings.max_step_samples,
        )

    def new_stream(self, slot: Slot) -> Stream:
        return MoonshineStream()

    def warm_up(self) -> None:
        self._model.decode([Request(np.zeros(SAMPLE_RATE, np.float32))])

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        """Decode one batch; see `engine.recognizer.Recognizer.step`."""
        states = [self._progress(task) for task in tasks]
        requests = [self._request(task, state) for task, state in zip(tasks, states, strict=True)]
        readings = self._model.decode(requests)
        shifts = [self._shift(task, state) for task, state in zip(tasks, states, strict=True)]
        self._read_again(tasks, states, requests, readings, shifts)
        results = [
            self._conclude(task, state, reading, shift)
            for task, state, reading, shift in zip(tasks, states, readings, shifts, strict=True)
        ]
        for task, (_, progress) in zip(tasks, results, strict=True):
            assert isinstance(task.stream, MoonshineStream)
            task.stream.progress = progress
        return [hypothesis for hypothesis, _ in results]

    def _progress(self, task: Task) -> _Progress:
        assert isinstance(task.stream, MoonshineStream)
        progress = task.stream.progress
        return progress if progress.segment_id == task.segment_id else _Progress(task.segment_id)

    def _shift(self, task: Task, state: _Progress) -> int:
        """Samples to leave out at the start: none, or a little, in turns. The start is pre-roll, not speech."""
        return self._settings.shift if task.kind is Kind.STEP and state.steps % 2 else 0

    def _request(self, task: Task, state: _Progress) -> Request:
        done = len(state.tokens)
        draft = state.draft[done:] if state.draft[:done] == state.tokens else ()
        align = task.kind is Kind.FINAL and task.options.words
        return Request(task.audio[self._shift(task, state) :], state.tokens, draft, align)

    def _read_again(
        self,
        tasks: Sequence[Task],
        states: Sequence[_Progress],
        requests: Sequence[Request],
        readings: list[Reading],
        shifts: list[int],
    ) -> None:
        """Read finals that are not certain from a slightly later start, and keep what is likelier."""
        shift = self._settings.shift
        doubtful = [
            index
            for index, task in enumerate(tasks)
            if task.kind is Kind.FINAL
            and len(task.audio) > 4 * shift
            and _mean(readings[index].logprobs[len(states[index].tokens) :]) < self._settings.second_below
        ]
        again = [
            replace(requests[index], audio=requests[index].audio[shift:], draft=_rest(readings[index], states[index]))
            for index in doubtful
        ]
        for index, reading in zip(doubtful, self._model.decode(again), strict=True):
            done = len(states[index].tokens)
            if _mean(reading.logprobs[done:]) > _mean(readings[index].logprobs[done:]):
                readings[index], shifts[index] = reading, shift

    def _conclude(self, task: Task, state: _Progress, reading: Reading, shift: int) -> tuple[Hypothesis, _Progress]:
        """The hypothesis of one reading, and the segment's progress after it."""
        done = len(state.tokens)
        logprobs = state.logprobs + reading.logprobs[done:]
        text = self._tokenizer.decode(reading.tokens)
        if task.kind is Kind.FINAL:
            if not state.tokens and _mean(logprobs) < self._settings.empty_below:
                return Hypothesis("", 0, 0.0, LANGUAGE, () if task.options.words else None), _Progress()
            words = self._timed_words(task, reading, logprobs, shift) if task.options.words else None
            return Hypothesis(text, len(text), _confidence(logprobs), LANGUAGE, words), _Progress()
        progress = replace(state, draft=reading.tokens)
        if task.kind is Kind.STEP:
            progress = self._commit(progress, reading, logprobs)
        stable = self._tokenizer.decode(progress.tokens)
        return Hypothesis(text, len(stable), _confidence(logprobs), LANGUAGE), progress

    def _commit(self, state: _Progress, reading: Reading, logprobs: tuple[float, ...]) -> _Progress:
        groups = self._tokenizer.group(reading.tokens)
        decode = Decode(
            tuple(reading.tokens[first:last] for _, first, last in groups),
            tuple(min(logprobs[first:last]) for _, first, last in groups),
        )
        settings = self._settings.commitment
        history = (*state.history, decode)[-settings.patience :]
        words = committed_words(history, state.words, settings)
        end = groups[words - 1][2] if words > state.words else len(state.tokens)
        return replace(
            state,
            tokens=reading.tokens[:end],
            logprobs=logprobs[:end],
            words=words,
            history=history,
            steps=state.steps + 1,
        )

    def _timed_words(
        self, task: Task, reading: Reading, logprobs: tuple[float, ...], shift: int
    ) -> tuple[TimedWord, ...]:
        if not reading.tokens:
            return ()
        assert reading.attention is not None
        groups = self._tokenizer.group(reading.tokens)
        times = align_words(groups, reading.attention, task.audio[shift:])
        return tuple(
            TimedWord(word, task.start + shift + start, task.start + shift + end, _confidence(logprobs[first:last]))
            for (word, first, last), (_, start, end) in zip(groups, times, strict=True)
        )


def _rest(reading: Reading, state: _Progress) -> tuple[int, ...]:
    return reading.tokens[len(state.tokens) :]


def _mean(logprobs: Sequence[float]) -> float:
    """Mean natural log-probability; 0 for none."""
    return sum(logprobs) / len(logprobs) if logprobs else 0.0


def _confidence(logprobs: Sequence[float]) -> float:
    """Geometric mean of the token probabilities, from 0 to 1; 0 where there is no token."""
    return math.exp(_mean(logprobs)) if logprobs else 0.0
