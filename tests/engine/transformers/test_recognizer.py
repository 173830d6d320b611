"""Streams over a whole-segment model that reads what the test says: stability, previews, made-up text, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.recognizer import Kind, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.transformers.reading import AUTO, Reading, Request
from stream_server.engine.transformers.recognizer import TransformersRecognizer
from stream_server.engine.transformers.settings import TransformersSettings
from stream_server.engine.transformers.vocabulary import Vocabulary
from stream_server.engine.work import Hypothesis, StreamOptions, TimedWord

WORDS = ("it", "was", "the", "best", "worst", "of", "times", "you", "♪♪", "42", "age")
SECOND = 16_000


class Scripted:
    """Reads what ``script`` says for a length of audio in seconds, behind the prefix that it is forced to keep."""

    languages = ("en", "de")
    keyterms = True

    def __init__(self, *, forces: bool = True, window: int | None = None) -> None:
        self.vocabulary = Vocabulary([f" {word}".encode() for word in WORDS])
        self.forces = forces
        self.window = window
        self.script: dict[int, str] = {}
        self.logprob = -0.01
        self.silence = 0.0
        self.looped = False
        self.timed = True
        self.heard: list[Request] = []

    def read(self, requests: Sequence[Request]) -> list[Reading]:
        assert requests, "models need not be asked nothing"
        self.heard += requests
        return [self._read(request) for request in requests]

    def _read(self, request: Request) -> Reading:
        said = tuple(WORDS.index(word) for word in self.script[len(request.audio) // SECOND].split())
        tokens = request.prefix + said[len(request.prefix) :]
        spans = tuple((100 * place, 100 * place + 80) for place in range(len(tokens))) if self.timed else None
        return Reading(
            tokens,
            (self.logprob,) * (len(tokens) - len(request.prefix)),
            "de" if request.language == AUTO else request.language,
            spans if request.timed else None,
            self.silence,
            self.looped,
        )


class Caller:
    def __init__(self, model: Scripted, settings: TransformersSettings | None = None, **options: object) -> None:
        self.recognizer = TransformersRecognizer("scripted", "a script", model, settings or TransformersSettings())
        self.stream: Stream = self.recognizer.new_stream(Slot(0, 1))
        self.options = replace(StreamOptions("en"), **options)  # type: ignore[arg-type]

    def task(self, seconds: int, kind: Kind, *, segment: int = 0, start: int = 0) -> Task:
        return Task(self.stream, kind, segment, start, np.zeros(seconds * SECOND, np.float32), self.options)

    def read(self, seconds: int, kind: Kind = Kind.STEP, *, segment: int = 0, start: int = 0) -> Hypothesis:
        return self.recognizer.step([self.task(seconds, kind, segment=segment, start=start)])[0]


def shown(hypothesis: Hypothesis) -> tuple[str, str]:
    """What is stable, and what may change."""
    return hypothesis.text[: hypothesis.stable_chars], hypothesis.text[hypothesis.stable_chars :]


def test_words_that_two_decodes_agree_on_are_stable_but_for_the_newest() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best of times", 3: "it was you worst age you times"}
    caller = Caller(model)
    assert shown(caller.read(1)) == ("", "it was the best")
    assert shown(caller.read(2)) == ("it was the best", " of times")
    assert shown(caller.read(3)) == ("it was the best", " age you times")
    assert [request.prefix for request in model.heard] == [(), (), (0, 1, 2, 3)]
    final = caller.read(3, Kind.FINAL)
    assert shown(final) == ("it was the best age you times", "")


def test_doubtful_words_wait() -> None:
    model = Scripted()
    model.logprob = -1.2
    model.script = dict.fromkeys(range(1, 12), "it was the best of times")
    caller = Caller(model)
    stable = [caller.read(second).stable_chars for second in range(1, 12)]
    assert stable[1] == 0
    assert stable == sorted(stable)
    assert stable[-1] == len("it was the best")


def test_at_a_pause_the_newest_words_are_stable_too() -> None:
    model = Scripted()
    model.script = {1: "it was", 2: "it was the best"}
    caller = Caller(model)
    caller.read(1)
    assert shown(caller.read(2, Kind.PREVIEW)) == ("it was", " the best")


def test_partials_commit_nothing() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best"}
    caller = Caller(model)
    assert [caller.read(second, Kind.PARTIAL).stable_chars for second in (1, 2, 2, 2)] == [0] * 4


def test_callers_without_partials_get_finals_of_the_whole_segment() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best", 3: "you"}
    caller = Caller(model, partial_samples=None)
    caller.read(1, Kind.PREVIEW)
    caller.read(2, Kind.PREVIEW)
    assert caller.read(3, Kind.FINAL).text == "you"


def test_models_that_force_nothing_promise_nothing() -> None:
    model = Scripted(forces=False)
    model.script = {1: "it was the best", 2: "it was the best", 3: "you"}
    caller = Caller(model)
    for second in (1, 2):
        assert shown(caller.read(second)) == ("", "it was the best")
    assert shown(caller.read(3, Kind.FINAL)) == ("you", "")
    assert all(request.prefix == request.draft == () for request in model.heard)


def test_the_last_reading_is_the_draft_of_the_next() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best of times", 3: "it was the best of times"}
    caller = Caller(model)
    for second in (1, 2, 3):
        caller.read(second)
    assert [request.draft for request in model.heard] == [(), (0, 1, 2, 3), (5, 6)]


def test_a_final_that_was_worked_out_at_the_pause_is_not_worked_out_again() -> None:
    model = Scripted()
    model.script = {2: "it was", 3: "it was you"}
    caller = Caller(model)
    caller.read(2, Kind.PREVIEW)
    final = caller.read(2, Kind.FINAL, start=0)
    assert shown(final) == ("it was", "")
    assert len(model.heard) == 1
    assert final.words is not None
    model.timed = False  # nor where the model has no times
    caller.read(2, Kind.PREVIEW, segment=2)
    assert caller.read(2, Kind.FINAL, segment=2).words is None
    assert len(model.heard) == 2
    caller.read(2, Kind.PREVIEW, segment=1)
    assert caller.read(3, Kind.FINAL, segment=1).text == "it was you"  # speech went on
    assert len(model.heard) == 4


def test_words_that_are_asked_for_after_the_pause_come_all_the_same() -> None:
    model = Scripted()
    model.script = {2: "it was"}
    caller = Caller(model, words=False)
    assert caller.read(2, Kind.PREVIEW).words is None
    caller.options = replace(caller.options, words=True)
    final = caller.read(2, Kind.FINAL)
    assert final.words is not None
    assert [word.word for word in final.words] == ["it", "was"]


def test_half_a_letter_is_not_stable() -> None:
    model = Scripted()
    model.vocabulary = Vocabulary([*(f" {word}".encode() for word in WORDS[:-1]), b" caf\xc3"])
    model.script = {1: "it was age"}
    hypothesis = Caller(model).read(1, Kind.PREVIEW)
    assert hypothesis.stable_chars == 0
    caller = Caller(model)
    caller.read(1)
    assert shown(caller.read(1, Kind.PREVIEW)) == ("it was", " caf\ufffd")


def test_words_with_their_times() -> None:
    model = Scripted()
    model.script = {1: "it was"}
    final = Caller(model).read(1, Kind.FINAL, start=5000)
    assert final.words == (
        TimedWord("it", 5000, 5080, pytest.approx(0.990, abs=1e-3)),
        TimedWord("was", 5100, 5180, pytest.approx(0.990, abs=1e-3)),
    )
    assert Caller(model, words=False).read(1, Kind.FINAL).words is None
    model.timed = False
    assert Caller(model).read(1, Kind.FINAL).words is None  # nothing is made up where the model has no times


@pytest.mark.parametrize(
    ("logprob", "silence", "looped", "text"),
    [
        (-0.1, 0.0, False, "you you"),
        (-0.9, 0.1, False, "you you"),
        (-0.9, 0.9, False, ""),
        (-0.1, 0.9, False, "you you"),
        (-0.9, 0.0, True, ""),
        (-2.5, 0.0, False, ""),
    ],
)
def test_made_up_text(logprob: float, silence: float, looped: bool, text: str) -> None:
    model = Scripted()
    model.script = {1: "you you"}
    model.logprob, model.silence, model.looped = logprob, silence, looped
    caller = Caller(model)
    for kind in (Kind.STEP, Kind.STEP, Kind.PREVIEW, Kind.PARTIAL):
        assert caller.read(1, kind).text == text
    final = Caller(model).read(1, Kind.FINAL)
    assert final.text == text
    assert bool(final.words) == bool(text)


def test_text_without_letters_and_digits_is_made_up() -> None:
    model = Scripted()
    model.script = {1: "♪♪", 2: "♪♪ you", 3: "42"}
    for kind in Kind:
        assert [Caller(model).read(second, kind).text for second in (1, 2, 3)] == ["", "♪♪ you", "42"]
    caller = Caller(model)
    for kind in (Kind.STEP, Kind.STEP, Kind.PREVIEW):
        caller.read(1, kind)
    assert caller.read(1, Kind.FINAL) == Hypothesis("", 0, 0.0, "en", ())


def test_what_was_heard_is_not_taken_back() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best", 3: "it was the best of times"}
    caller = Caller(model)
    caller.read(1)
    assert caller.read(2).stable_chars > 0
    model.silence, model.logprob = 0.95, -5.0
    assert caller.read(3, Kind.FINAL).text == "it was the best of times"


def test_the_language_stays_once_words_are_stable() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best", 3: "it was the best"}
    caller = Caller(model, language=AUTO)
    assert [caller.read(second).language for second in (1, 2, 3)] == ["de"] * 3
    assert [request.language for request in model.heard] == [AUTO, AUTO, "de"]


def test_keyterms_are_handed_on() -> None:
    model = Scripted()
    model.script = {1: "it was"}
    Caller(model, keyterms=("Kubernetes",)).read(1)
    assert model.heard[0].keyterms == ("Kubernetes",)


def test_a_step_that_fails_changes_no_stream() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best", 3: "it was the best"}
    caller, poisoned = Caller(model), Caller(model)
    caller.read(1)
    tasks = [caller.task(2, Kind.STEP), poisoned.task(9, Kind.STEP)]
    with pytest.raises(KeyError):
        caller.recognizer.step(tasks)
    assert shown(caller.read(2)) == ("it was", " the best")


def test_segments_know_nothing_of_each_other() -> None:
    model = Scripted()
    model.script = {1: "it was the best", 2: "it was the best", 3: "you"}
    caller = Caller(model)
    caller.read(1)
    caller.read(2)
    assert caller.read(3, segment=1).text == "you"
    assert caller.read(3, Kind.FINAL, segment=1).text == "you"


def test_segments_are_no_longer_than_what_the_model_can_hear() -> None:
    assert Caller(Scripted(window=20 * SECOND)).recognizer.info.max_segment_sec == 20.0
    assert Caller(Scripted()).recognizer.info.max_segment_sec == 30.0
