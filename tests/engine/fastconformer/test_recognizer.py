"""The streaming recognizer behind the engine: what transformers makes of the same audio, whoever shares a batch."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

import torch
from transformers import AutoProcessor, Nemotron3_5AsrForRNNT, NemotronAsrStreamingForRNNT

from stream_server.engine.device import DeviceError
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.fastconformer.keyterm import KeytermSettings
from stream_server.engine.fastconformer.loading import load_fastconformer
from stream_server.engine.fastconformer.program import Emission, Program
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.state import State
from stream_server.engine.hub import CheckpointError
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    Audio,
    CloseSegment,
    Command,
    ConfigureStream,
    Failure,
    Hypothesis,
    OpenSegment,
    Outcome,
    Result,
    StreamOptions,
)
from tests.support.checkpoint import make_checkpoint

PLAIN, PROMPTED = "nemotron_asr_streaming", "nemotron3_5_asr"
CHUNKS = (1280, 2560, 8960, 17920)
FAR = 10**9
SETTINGS = FastConformerSettings()


@pytest.fixture(scope="module", params=[PLAIN, PROMPTED])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


def load(folder: Path, streams: int = 8, settings: FastConformerSettings = SETTINGS) -> FastConformerRecognizer:
    return load_fastconformer("tiny", folder, "cpu", streams, settings)


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> FastConformerRecognizer:
    return load(folder)


def noise(seconds: float, seed: int) -> Audio:
    """Noise whose loudness changes from tenth to tenth of a second: a tiny random model says much of it."""
    random = np.random.default_rng(seed)
    length = round(seconds * SAMPLE_RATE)
    loudness = np.repeat(random.random(length // 1600 + 1), 1600)[:length]
    return np.asarray(0.1 * random.standard_normal(length) * loudness, np.float32)


@dataclass
class Oracle:
    """What transformers makes of whole audio, in float32."""

    model: Any
    processor: Any

    @classmethod
    def load(cls, folder: Path) -> Oracle:
        prompted = (folder / "config.json").read_text().find(PROMPTED) >= 0
        kind = Nemotron3_5AsrForRNNT if prompted else NemotronAsrStreamingForRNNT
        return cls(kind.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder))

    @torch.no_grad()
    def tokens(self, audio: Audio, chunk: int, language: str = "auto") -> tuple[list[int], list[int]]:
        """Tokens of the greedy search, and the frame of each."""
        self.processor.set_num_lookahead_tokens(chunk // 1280 - 1)
        told = {"language": language} if isinstance(self.model, Nemotron3_5AsrForRNNT) else {}
        inputs = self.processor(audio, sampling_rate=SAMPLE_RATE, **told)
        room = (len(audio) // 1280 + 2) * (self.model.config.max_symbols_per_step + 1)
        made = self.model.generate(**inputs, max_new_tokens=room)
        sequence, durations = made.sequences[0], made.durations[0]
        frames = durations.cumsum(0) - durations
        keep = [at for at in range(1, len(sequence)) if sequence[at] not in (self.model.config.blank_token_id,)]
        # What comes after the last frame is padding.
        total = int(durations.sum())
        keep = [at for at in keep if frames[at] < total]
        return sequence[keep].tolist(), frames[keep].tolist()


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle.load(folder)


def segment(
    audio: Audio, *, number: int = 0, start: int = 0, piece: int = 1600, follows: bool = False
) -> list[Command]:
    pieces = [AppendAudio(audio[at : at + piece], FAR) for at in range(0, len(audio), piece)]
    return [OpenSegment(number, start, start, follows), *pieces, CloseSegment(start + len(audio))]


class Caller:
    """A stream of an engine that is stepped by hand, and what came back for it."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.stream = engine.open(StreamOptions(**{"language": "auto", **options}), self.outcomes.append)

    @property
    def finals(self) -> list[Hypothesis]:
        return [each.hypothesis for each in self.outcomes if isinstance(each, Result) and each.is_final]

    @property
    def partials(self) -> list[Hypothesis]:
        return [each.hypothesis for each in self.outcomes if isinstance(each, Result) and not each.is_final]


def engine(recognizer: FastConformerRecognizer) -> Engine:
    return Engine(recognizer, EngineSettings(64), clock=lambda: 0.0)


def hear(recognizer: FastConformerRecognizer, *audios: Audio, **options: Any) -> list[Caller]:
    """One segment for each of some callers at once."""
    made = engine(recognizer)
    callers = [Caller(made, **options) for _ in audios]
    for caller, audio in zip(callers, audios, strict=True):
        caller.stream.submit(segment(audio))
    while made.step():
        pass
    for caller in callers:
        caller.stream.close()
    return callers


def emitted(
    recognizer: FastConformerRecognizer, audio: Audio, chunk: int, **options: Any
) -> tuple[list[int], list[int]]:
    """Tokens and frames of a whole segment, as the recognizer's runner emitted them."""
    tokens: list[int] = []
    frames: list[int] = []
    run, done = recognizer._runner.run, 0

    def spy(chunks: Any, length: int) -> Any:
        nonlocal done
        found = run(chunks, length)
        tokens.extend(found[0].tokens)
        frames.extend(done + frame for frame in found[0].frames)
        done += chunks[0].frames
        return found

    recognizer._runner.run = spy  # type: ignore[method-assign]
    try:
        hear(recognizer, audio, chunk_samples=chunk, **options)
    finally:
        recognizer._runner.run = run  # type: ignore[method-assign]
    return tokens, frames


@pytest.mark.parametrize("chunk", CHUNKS)
def test_every_token_and_its_frame_are_those_of_transformers(
    recognizer: FastConformerRecognizer, oracle: Oracle, chunk: int
) -> None:
    said = 0
    for seed, seconds in enumerate((0.005, 0.3, 1.0, 2.345, 5.6, 7.03)):
        audio = noise(seconds, seed)
        expected = oracle.tokens(audio, chunk) if seconds > 0.01 else ([], [])
        assert emitted(recognizer, audio, chunk) == expected
        said += len(expected[0])
    assert said > 50, "the model says too little for this to show anything"


def test_the_language_is_told_to_the_model(recognizer: FastConformerRecognizer, oracle: Oracle, folder: Path) -> None:
    audio = noise(4.0, 3)
    told = {language: emitted(recognizer, audio, 8960, language=language) for language in ("de-DE", "en-US", "auto")}
    for language, found in told.items():
        assert found == oracle.tokens(audio, 8960, language)
    if PROMPTED in folder.name:
        assert told["de-DE"] != told["en-US"]
        assert set(recognizer.info.languages) == {"en-US", "en", "de-DE", "de", "ja-JP"}
    else:
        assert recognizer.info.languages == ("en",)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_text_only_grows_and_words_lie_in_their_segment(recognizer: FastConformerRecognizer, chunk: int) -> None:
    (caller,) = hear(recognizer, noise(8.0, 11), chunk_samples=chunk)
    (final,) = caller.finals
    texts = [hypothesis.text for hypothesis in [*caller.partials, final]]
    assert len(set(texts)) > 3
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert all(hypothesis.stable_chars == len(hypothesis.text) for hypothesis in [*caller.partials, final])
    assert final.words is not None
    assert " ".join(word.word for word in final.words) == final.text
    bounds = [bound for word in final.words for bound in (word.start, word.end)]
    assert bounds == sorted(bounds)
    assert 0 <= bounds[0] < bounds[-1] <= 8 * SAMPLE_RATE
    assert all(0 < word.confidence <= 1 for word in final.words)
    assert 0 < final.confidence <= 1
    assert all(hypothesis.words is None for hypothesis in caller.partials)


def test_batched_equals_alone_at_every_chunk_length(recognizer: FastConformerRecognizer) -> None:
    audios = [noise(0.4 + 0.9 * seed, seed) for seed in range(7)]
    for chunk in CHUNKS:
        together = hear(recognizer, *audios, chunk_samples=chunk)
        for caller, audio in zip(together, audios, strict=True):
            (alone,) = hear(recognizer, audio, chunk_samples=chunk)
            assert caller.finals[0].text == alone.finals[0].text
            assert [word.start for word in caller.finals[0].words or ()] == [
                word.start for word in alone.finals[0].words or ()
            ]


def test_streams_of_different_chunks_that_come_and_go_equal_the_same_alone(
    recognizer: FastConformerRecognizer, folder: Path
) -> None:
    """Slots are taken, left in the midst of speech, and taken by others, in whatever order."""
    twin = load(folder, 1)
    random = np.random.default_rng(5)
    made = engine(recognizer)
    live: list[tuple[Caller, list[Command], Audio, int]] = []
    done = 0
    for round_ in range(60):
        if len(live) < 6 and random.random() < 0.7:
            chunk = int(random.choice(CHUNKS))
            audio = noise(float(random.uniform(0.1, 2.0)), 100 + round_)
            live.append((Caller(made, chunk_samples=chunk), segment(audio, piece=3200), audio, chunk))
        for caller, commands, _, _ in live:
            if commands:
                caller.stream.submit([commands.pop(0)])
        for _ in range(4):
            made.step()
        if live and random.random() < 0.1:  # hangs up amid speech
            live.pop(int(random.integers(len(live))))[0].stream.close()
        for entry in [each for each in live if each[0].finals]:
            caller, _, audio, chunk = entry
            caller.stream.close()
            live.remove(entry)
            (alone,) = hear(twin, audio, chunk_samples=chunk)
            assert caller.finals[0].text == alone.finals[0].text
            done += 1
    assert done > 10


def test_a_pause_resets_and_a_cut_does_not(recognizer: FastConformerRecognizer, oracle: Oracle) -> None:
    before, after = noise(3.0, 1), noise(3.0, 2)
    afresh = hear(recognizer, after)[0].finals[0].text

    def second(*, follows: bool, gap: int = 0) -> str:
        made = engine(recognizer)
        caller = Caller(made)
        start = len(before) + gap
        caller.stream.submit([*segment(before), *segment(after, number=1, start=start, follows=follows)])
        while made.step():
            pass
        caller.stream.close()
        return caller.finals[1].text

    assert second(follows=False) == afresh
    assert second(follows=True) != afresh
    assert second(follows=True, gap=160) == afresh, "what is between has not been heard"


def test_a_character_that_straddles_a_cut_is_told_once(
    recognizer: FastConformerRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (recognizer._vocabulary._tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "é".encode())

    def scripted(*tokens: int) -> Any:
        return lambda chunks, frames: [Emission(list(tokens), [0] * len(tokens), [-0.1] * len(tokens)) for _ in chunks]

    def say(*, follows: bool) -> list[str]:
        made = engine(recognizer)
        caller = Caller(made)
        audio = noise(0.2, 1)
        for number, token in enumerate((first, second)):
            monkeypatch.setattr(recognizer._runner, "run", scripted(token))
            caller.stream.submit(
                segment(audio, number=number, start=number * len(audio), follows=follows and number > 0)
            )
            while made.step():
                pass
        caller.stream.close()
        return [final.text for final in caller.finals]

    assert say(follows=True) == ["", "é"]
    assert say(follows=False)[0] == ""


def test_a_long_session_loses_nothing(recognizer: FastConformerRecognizer) -> None:
    """Segment after segment in one slot: each as if it were the first."""
    made = engine(recognizer)
    caller = Caller(made)
    audios = [noise(1.0 + seed % 3, 200 + seed) for seed in range(20)]
    start = 0
    for number, audio in enumerate(audios):
        caller.stream.submit(segment(audio, number=number, start=start))
        start += len(audio) + SAMPLE_RATE
        while made.step():
            pass
    assert [final.text for final in caller.finals] == [hear(recognizer, audio)[0].finals[0].text for audio in audios]


def test_a_batch_larger_than_a_step_is_taken_in_parts(folder: Path, recognizer: FastConformerRecognizer) -> None:
    audios = [noise(2.0, 300 + seed) for seed in range(7)]
    small = load(folder, settings=replace(SETTINGS, max_batch_frames=28))
    assert small._runner.buckets[14] == [1, 2]
    texts = [caller.finals[0].text for caller in hear(small, *audios, chunk_samples=17920)]
    assert texts == [caller.finals[0].text for caller in hear(recognizer, *audios, chunk_samples=17920)]


def test_who_speaks_fast_is_searched_in_more_rounds(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that emits as many labels as it may at every frame."""
    family = PROMPTED if PROMPTED in folder.name else PLAIN
    checkpoint = make_checkpoint(tmp_path, family, blank_bias=-100.0, seed=4)
    made, oracle = load(checkpoint), Oracle.load(checkpoint)
    audio = noise(1.5, 7)
    expected = oracle.tokens(audio, 8960)
    assert len(expected[0]) == 5 * (1 + (len(audio) // 160 - 1 + 7) // 8), "five labels a frame"
    assert emitted(made, audio, 8960) == expected


def test_audio_that_is_no_number_fails_alone_and_leaves_nothing(
    recognizer: FastConformerRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = noise(2.0, 1), noise(2.0, 2)
    bad[17_000] = np.nan
    expected = hear(recognizer, good)[0].finals[0].text
    with caplog.at_level(logging.CRITICAL + 1):
        callers = hear(recognizer, good, bad, good)
    assert [caller.finals[0].text for caller in (callers[0], callers[2])] == [expected] * 2
    assert any(isinstance(outcome, Failure) and "finite" in outcome.reason for outcome in callers[1].outcomes)
    loud = hear(recognizer, noise(1.0, 3) * np.float32(1e30))
    assert loud[0].finals[0].confidence <= 1
    assert [caller.finals[0].text for caller in hear(recognizer, *[good] * 8)] == [expected] * 8


def test_a_part_of_a_batch_that_fails_harms_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Parts that have been run must not be run again, and streams of the part that failed begin anew."""
    audios = [noise(4.0, 40 + seed) for seed in range(6)]
    expected = [caller.finals[0].text for caller in hear(load(folder), *audios)]
    recognizer = load(folder, settings=replace(SETTINGS, max_batch_frames=14))  # parts of 2 at 7 frames
    run, runs = Program.run, 0

    def sometimes(program: Program, chunks: Any) -> Any:
        nonlocal runs
        runs += 1
        found = run(program, chunks)
        if runs == 5:  # the second part of the second step, when the state has been written
            raise RuntimeError("out of luck")
        return found

    monkeypatch.setattr(Program, "run", sometimes)
    with caplog.at_level(logging.CRITICAL + 1):
        callers = hear(recognizer, *audios)
    assert [caller.finals[0].text for caller in (*callers[:2], *callers[4:])] == [*expected[:2], *expected[4:]]
    for caller in callers[2:4]:
        assert any(isinstance(outcome, Failure) and "luck" in outcome.reason for outcome in caller.outcomes)
    assert [caller.finals[0].text for caller in hear(recognizer, *audios)] == expected


def test_audio_that_is_no_number_in_a_later_part_changes_nothing_for_the_others(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audios = [noise(3.0, 50 + seed) for seed in range(5)]
    expected = [caller.finals[0].text for caller in hear(load(folder), *audios)]
    audios[4][20_000:] = np.inf
    with caplog.at_level(logging.CRITICAL + 1):
        callers = hear(load(folder, settings=replace(SETTINGS, max_batch_frames=14)), *audios)
    assert [caller.finals[0].text for caller in callers[:4]] == expected[:4]


def test_what_follows_a_chunk_that_failed_harms_no_other(
    recognizer: FastConformerRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    """Many chunks wait behind the one that fails, and the next segment of the same stream is sound again."""
    good, bad = noise(5.0, 1), noise(5.0, 2)
    bad[17_000] = np.nan
    made = engine(recognizer)
    callers = [Caller(made, chunk_samples=8960) for _ in range(4)]
    with caplog.at_level(logging.CRITICAL + 1):
        for caller, audio in zip(callers, (good, bad, good, good), strict=True):
            caller.stream.submit(segment(audio) + segment(good, number=1, start=100_000))
        while made.step():
            pass
    for caller in (callers[0], callers[2], callers[3]):
        assert [final.text for final in caller.finals] == [
            hear(recognizer, good, chunk_samples=8960)[0].finals[0].text
        ] * 2
    assert sum(isinstance(outcome, Failure) for outcome in callers[1].outcomes) == 1
    assert [final.text for final in callers[1].finals] == [callers[0].finals[0].text], "no final for what failed"
    for caller in callers:
        caller.stream.close()


def test_options_are_those_of_the_audio_however_late_it_is_run(recognizer: FastConformerRecognizer) -> None:
    audio = noise(4.0, 3)
    commands = segment(audio, piece=8000)
    half = len(commands) // 2
    changed = StreamOptions("de-DE", keyterms=("two cats",), chunk_samples=8960)

    def say(*, late: bool) -> str:
        made = engine(recognizer)
        caller = Caller(made, chunk_samples=8960, language="en-US")
        for part in (commands[:half], [ConfigureStream(changed), *commands[half:]]):
            caller.stream.submit(part)
            while not late and made.step():
                pass
        while made.step():
            pass
        caller.stream.close()
        return caller.finals[0].text

    assert say(late=True) == say(late=False)


def test_keyterms_raise_a_phrase_and_leave_the_others_alone(folder: Path) -> None:
    recognizer = load(folder, settings=replace(SETTINGS, keyterms=KeytermSettings(bonus=30.0)))
    audios = [noise(5.0, seed) for seed in range(3)]
    plain = [caller.finals[0] for caller in hear(recognizer, *audios)]
    made = engine(recognizer)
    terms: tuple[tuple[str, ...], ...] = ((), ("two cats",), ())
    callers = [Caller(made, keyterms=each) for each in terms]
    for caller, audio in zip(callers, audios, strict=True):
        caller.stream.submit(segment(audio))
    while made.step():
        pass
    found = [caller.finals[0] for caller in callers]
    assert (found[0], found[2]) == (plain[0], plain[2])
    assert "two cats" not in plain[1].text
    assert "two cats" in found[1].text
    for caller in callers:
        caller.stream.close()
    # The next caller of the slot has no keyterms.
    assert [caller.finals[0] for caller in hear(recognizer, *audios)] == plain


def test_keyterms_change_with_the_next_segment(folder: Path) -> None:
    recognizer = load(folder, settings=replace(SETTINGS, keyterms=KeytermSettings(bonus=30.0)))
    audio = noise(5.0, 1)
    made = engine(recognizer)
    caller = Caller(made)
    options = StreamOptions("auto", keyterms=("two cats",))
    first, second = segment(audio), segment(audio, number=1, start=len(audio) + 1000)
    for commands in (first[:20], [ConfigureStream(options), *first[20:]], second):
        caller.stream.submit(commands)
        while made.step():
            pass
    assert caller.finals[0] == hear(recognizer, audio)[0].finals[0]
    assert "two cats" in caller.finals[1].text


def test_more_keyterms_than_there_is_room_for_are_left_out_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(SETTINGS, keyterms=KeytermSettings(bonus=30.0, max_edges=40))
    recognizer = load(folder, settings=settings)
    terms = ("two cats", *("the dog " * count for count in range(1, 20)))
    callers = hear(recognizer, noise(5.0, 1), keyterms=terms)
    assert "keyterms: room for" in caplog.text
    assert "two cats" in callers[0].finals[0].text, "the first ones stay"


def test_as_many_streams_are_offered_as_the_device_has_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    allocate = State.allocate

    def poor(config: Any, streams: int, *rest: Any) -> State:
        if streams > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return allocate(config, streams, *rest)

    monkeypatch.setattr(State, "allocate", poor)
    recognizer = load(folder, streams=100)
    assert recognizer.info.max_streams == 6
    assert "memory for 6 streams, not for the 100 asked for" in caplog.text


def test_fewer_streams_are_offered_where_steps_leave_no_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warm_up = Runner.warm_up

    def greedy(runner: Runner) -> None:
        if runner.state.slots > 30:
            raise DeviceMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        warm_up(runner)

    monkeypatch.setattr(Runner, "warm_up", greedy)
    assert load(folder, streams=100).info.max_streams == 25
    assert "memory for 25 streams, not for the 100 asked for" in caplog.text


def test_a_model_that_finds_no_room_or_a_broken_device_is_refused_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stream_server.engine.registry import RecognizerSettings, load_recognizer

    for error, message in (
        (DeviceMemoryError("CUDA out of memory."), "no room for a single stream"),
        (DeviceLostError("an illegal memory access"), "cpu failed while .* was loaded: an illegal memory access"),
    ):

        def fail(runner: Runner, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Runner, "warm_up", fail)
        with pytest.raises(DeviceError, match=message):
            load_recognizer(str(folder), RecognizerSettings(device="cpu", max_streams=4))


def test_a_vocabulary_of_another_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        shutil.copytree(folder, tmp_path / name)
    vocabulary = json.loads((tmp_path / "one" / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((tmp_path / "one" / "config.json").read_text(encoding="utf-8"))
    vocabulary["model"]["vocab"]["▁stray"] = config["vocab_size"] + 3
    (tmp_path / "one" / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(CheckpointError, match="are both of the same checkpoint"):
        load(tmp_path / "one")
    config["blank_token_id"] = vocabulary["model"]["vocab"]["a"]
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="which is the blank of the model"):
        load(tmp_path / "other")


def test_the_languages_of_a_model_that_is_not_told_are_set(folder: Path) -> None:
    recognizer = load(folder, settings=replace(SETTINGS, languages=("de", "fr")))
    if PROMPTED in folder.name:
        assert "ja-JP" in recognizer.info.languages
    else:
        assert recognizer.info.languages == ("de", "fr")
        (caller,) = hear(recognizer, noise(3.0, 1), language="fr")
        assert caller.finals[0].language == "fr"


def test_a_device_without_room_for_one_stream_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> State:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(State, "allocate", full)
    with pytest.raises(DeviceError, match="no room for a single stream"):
        load(folder)
