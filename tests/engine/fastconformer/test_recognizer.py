"""The streaming recognizer behind the engine: what transformers makes of the same audio, whoever shares a batch."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, Nemotron3_5AsrForRNNT, NemotronAsrStreamingForRNNT

from stream_server.engine.fastconformer.configuration import PLAIN, PROMPTED
from stream_server.engine.fastconformer.program import Emission
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.work import SAMPLE_RATE, Audio, Command, ConfigureStream, StreamOptions
from tests.engine.fastconformer.hearing import CHUNKS, SETTINGS, Caller, engine, hear, load, noise, segment
from tests.support.checkpoint import make_checkpoint


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
