"""Whole-segment models of the Hugging Face hub behind the engine's interface.

A segment is read anew each time. Models that can be forced to begin with given tokens commit a stable prefix as the
segment grows, by the same rule as the embedded one; the others show the whole of their text as provisional until the
final. It knows nothing of other callers, of load or of time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from stream_server.engine.commitment import Decode, committed_words
from stream_server.engine.fault import device_faults
from stream_server.engine.likelihood import confidence, mean_logprob
from stream_server.engine.recognizer import Kind, RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.transformers.family import load_model
from stream_server.engine.transformers.reading import Reading, Request, SegmentModel
from stream_server.engine.transformers.settings import SilenceSettings, TransformersSettings
from stream_server.engine.work import SAMPLE_RATE, Hypothesis, TimedWord

logger = logging.getLogger(__name__)

CLOSING = (Kind.FINAL, Kind.PREVIEW)
COMMITTING = (Kind.STEP, Kind.PREVIEW)


def load_transformers_recognizer(
    name: str, folder: Path, device: str, settings: TransformersSettings
) -> TransformersRecognizer:
    """Load the checkpoint in ``folder`` to serve it as ``name``. ``device``: cpu or cuda:n.

    Raises:
        CheckpointError: the files make no sense, or the architecture is not served.
    """
    with device_faults():
        checkpoint, model = load_model(folder, name, torch.device(device), settings)
    parameters = sum(each.numel() for each in checkpoint.model.parameters())
    description = f"{checkpoint.config.model_type}, {parameters / 1e6:.0f} M parameters, whole segments, on {device}"
    if device == "cpu":
        settings = replace(settings, max_batch=min(settings.max_batch, settings.max_batch_cpu))
    recognizer = TransformersRecognizer(name, description, model, settings)
    recognizer.warm_up()
    return recognizer


@dataclass(frozen=True, slots=True)
class _Preview:
    """The final, if the segment ends after ``samples``. ``with_words``: whether words were asked for."""

    samples: int
    with_words: bool
    final: Hypothesis


@dataclass(frozen=True, slots=True)
class _Progress:
    """What is known of a segment: replaced as a whole after a step, so that a failed step changes nothing."""

    segment_id: int = -1
    tokens: tuple[int, ...] = ()  # committed
    logprobs: tuple[float, ...] = ()  # of the committed tokens, as they were when committed
    words: int = 0  # committed
    born: tuple[int, ...] = ()  # how many samples there were when a word first stood at each place
    language: str = ""  # in which they were committed
    draft: tuple[int, ...] = ()  # the last reading
    history: tuple[Decode, ...] = ()
    preview: _Preview | None = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One task with its reading."""

    task: Task
    state: _Progress
    reading: Reading

    @property
    def logprobs(self) -> tuple[float, ...]:
        """One per token; for forced ones as they were when committed."""
        return self.state.logprobs + self.reading.logprobs


class TransformersStream(Stream):
    """One caller's segment in progress."""

    def __init__(self) -> None:
        self.progress = _Progress()


class TransformersRecognizer:
    """A whole-segment model. Segment kind: see `engine.recognizer`."""

    def __init__(self, name: str, description: str, model: SegmentModel, settings: TransformersSettings) -> None:
        self._settings = settings
        self._model = model
        self._vocabulary = model.vocabulary
        longest = settings.max_segment_sec
        if model.window is not None:
            longest = min(longest, model.window / SAMPLE_RATE)
        self.info = RecognizerInfo(
            name=name,
            kind="segment",
            languages=_languages(name, model.languages or settings.languages),
            description=description,
            step_samples=settings.step_samples,
            max_batch=settings.max_batch,
            max_step_samples=settings.max_step_samples,
            max_segment_sec=longest,
            keyterms=model.keyterms,
        )

    def new_stream(self, slot: Slot) -> Stream:
        return TransformersStream()

    def warm_up(self) -> None:
        """Read the longest clips there can be, so that all memory is taken before the first caller comes."""
        longest = np.zeros(round(self.info.max_segment_sec * SAMPLE_RATE), np.float32)
        count = max(1, min(self._settings.max_batch, self._settings.max_step_samples // len(longest)))
        with device_faults():
            self._model.read([Request(longest, self.info.languages[0])] * count)

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        """Decode one batch; see `engine.recognizer.Recognizer.step`."""
        states = [self._state(task) for task in tasks]
        prepared = [_prepared(task, state) for task, state in zip(tasks, states, strict=True)]
        fresh = [index for index, hypothesis in enumerate(prepared) if hypothesis is None]
        requests = [self._request(tasks[index], states[index]) for index in fresh]
        with device_faults():
            read = dict(zip(fresh, self._model.read(requests) if requests else [], strict=True))
        results = [
            (hypothesis, _Progress()) if hypothesis is not None else self._conclude(_Attempt(task, state, read[index]))
            for index, (task, state, hypothesis) in enumerate(zip(tasks, states, prepared, strict=True))
        ]
        for task, (_, progress) in zip(tasks, results, strict=True):
            assert isinstance(task.stream, TransformersStream)
            task.stream.progress = progress
        return [hypothesis for hypothesis, _ in results]

    def _state(self, task: Task) -> _Progress:
        assert isinstance(task.stream, TransformersStream)
        state = task.stream.progress
        return state if state.segment_id == task.segment_id else _Progress(task.segment_id)

    def _request(self, task: Task, state: _Progress) -> Request:
        done = len(state.tokens)
        draft = state.draft[done:] if self._model.forces and state.draft[:done] == state.tokens else ()
        language = state.language if state.tokens else task.options.language
        timed = task.kind in CLOSING and task.options.words
        return Request(task.audio, language, task.options.keyterms, state.tokens, draft, timed)

    def _conclude(self, attempt: _Attempt) -> tuple[Hypothesis, _Progress]:
        """The hypothesis of an attempt, and the segment's progress after it."""
        task, state, reading = attempt.task, attempt.state, attempt.reading
        text = self._vocabulary.decode(reading.tokens)
        made_up = not state.tokens and is_made_up(text, reading, self._settings.silence)  # what is stable was heard
        if task.kind is Kind.FINAL:
            return self._final(attempt, made_up), _Progress()
        progress = replace(state, draft=reading.tokens, preview=None)
        if self._model.forces and task.kind in COMMITTING and task.options.partial_samples is not None:
            progress = self._commit(progress, attempt, may_commit=not made_up)
        if task.kind is Kind.PREVIEW:
            progress = replace(
                progress, preview=_Preview(len(task.audio), task.options.words, self._final(attempt, made_up))
            )
        if made_up:
            return Hypothesis("", 0, 0.0, reading.language), progress
        stable = self._vocabulary.decode(progress.tokens)
        return Hypothesis(text, len(stable), confidence(attempt.logprobs), reading.language), progress

    def _final(self, attempt: _Attempt, made_up: bool) -> Hypothesis:
        text = "" if made_up else self._vocabulary.decode(attempt.reading.tokens)
        words: tuple[TimedWord, ...] | None = None
        if attempt.task.options.words:
            words = self._timed_words(attempt) if text else ()
        sure = confidence(attempt.logprobs) if text else 0.0
        return Hypothesis(text, len(text), sure, attempt.reading.language, words)

    def _commit(self, state: _Progress, attempt: _Attempt, *, may_commit: bool) -> _Progress:
        tokens, logprobs = attempt.reading.tokens, attempt.logprobs
        groups = self._vocabulary.group(tokens)
        samples = len(attempt.task.audio)
        born = state.born + (samples,) * (len(groups) - len(state.born))
        decode = Decode(
            tuple(tokens[first:last] for _, first, last in groups),
            tuple(min(logprobs[first:last]) for _, first, last in groups),
            tuple((samples - then) / SAMPLE_RATE for then in born[: len(groups)]),
        )
        settings = self._settings.commitment
        history = (*state.history, decode)[-settings.memory :]
        at_pause = attempt.task.kind is Kind.PREVIEW
        words = committed_words(history, state.words, settings, at_pause=at_pause) if may_commit else state.words
        while words > state.words and groups[words - 1][0].endswith("\ufffd"):
            words -= 1  # a letter whose last bytes may still come
        end = groups[words - 1][2] if words > state.words else len(state.tokens)
        return replace(
            state,
            tokens=tokens[:end],
            logprobs=logprobs[:end],
            words=words,
            born=born,
            language=attempt.reading.language,
            history=history,
        )

    def _timed_words(self, attempt: _Attempt) -> tuple[TimedWord, ...] | None:
        """The words with their times; None where the model has none."""
        task, reading = attempt.task, attempt.reading
        if reading.spans is None:
            return None
        words = []
        for word, first, last in self._vocabulary.group(reading.tokens):
            spans = [reading.spans[index] for index in range(first, last) if self._is_heard(reading.tokens[index])]
            spans = spans or list(reading.spans[first:last])
            sure = confidence(attempt.logprobs[first:last])
            words.append(TimedWord(word, task.start + spans[0][0], task.start + spans[-1][1], sure))
        return tuple(words)

    def _is_heard(self, token: int) -> bool:
        """Punctuation is not: the pause that it stands for is no part of the word."""
        return any(letter.isalnum() for letter in self._vocabulary.decode([token]))


def is_made_up(text: str, reading: Reading, settings: SilenceSettings) -> bool:
    """Whether a reading, and the text of it, is what the model says where nobody speaks; see `SilenceSettings`."""
    if not any(letter.isalnum() for letter in text):
        return True
    logprob = mean_logprob(reading.logprobs)
    doubted = reading.looped or reading.silence >= settings.probability
    return logprob < settings.incredible or (doubted and logprob < settings.unlikely)


def _languages(name: str, languages: tuple[str, ...]) -> tuple[str, ...]:
    if languages:
        return languages
    logger.warning("%s does not say which languages it speaks; it is taken for English", name)
    return ("en",)


def _prepared(task: Task, state: _Progress) -> Hypothesis | None:
    """The final that a preview has worked out already, if the segment did end there."""
    preview = state.preview
    if task.kind is not Kind.FINAL or preview is None or preview.samples != len(task.audio):
        return None
    return preview.final if preview.with_words or not task.options.words else None
