"""Encoder and decoder: against transformers' own greedy search, and everything that it does not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.transformers.checkpoint import Checkpoint
from stream_server.engine.transformers.family import load_model
from stream_server.engine.transformers.reading import Request
from stream_server.engine.transformers.seq2seq import Seq2SeqModel
from stream_server.engine.transformers.settings import TransformersSettings
from tests.engine.transformers.tiny import noise

CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 3.3, 0.7, 1.2))]
Loaded = tuple[Checkpoint, Seq2SeqModel]


def load(folder: Path, settings: TransformersSettings | None = None) -> Loaded:
    loaded, model = load_model(folder, "tiny", torch.device("cpu"), settings or TransformersSettings())
    assert isinstance(model, Seq2SeqModel)
    return loaded, model


@pytest.fixture(scope="module")
def whisper(checkpoint: Callable[[str], Path]) -> Loaded:
    return load(checkpoint("whisper"))


@pytest.fixture(scope="module")
def moonshine(checkpoint: Callable[[str], Path]) -> Loaded:
    return load(checkpoint("moonshine"))


@pytest.fixture(scope="module", params=["whisper", "moonshine"])
def either(request: pytest.FixtureRequest) -> Loaded:
    loaded: Loaded = request.getfixturevalue(request.param)
    return loaded


@pytest.mark.parametrize("language", ["en", "de", "auto"])
def test_whisper_reads_as_transformers_does(whisper: Loaded, language: str) -> None:
    loaded, model = whisper
    silent = list(model.vocabulary.silent)
    silent.remove(loaded.model.generation_config.eos_token_id)
    generated = loaded.model.generate(
        **loaded.features(CLIPS),
        language=None if language == "auto" else language,
        task="transcribe",
        suppress_tokens=[*loaded.model.generation_config.suppress_tokens, *silent],
        max_new_tokens=12,
    ).tolist()
    for clip, expected, reading in zip(
        CLIPS, generated, model.read([Request(clip, language) for clip in CLIPS]), strict=True
    ):
        assert reading.tokens[:12] == tuple(expected)[: len(reading.tokens)]
        assert len(reading.tokens) >= 3
        assert len(clip) > 0


def test_moonshine_reads_as_transformers_does(moonshine: Loaded) -> None:
    loaded, model = moonshine
    for clip in CLIPS:
        generated = loaded.model.generate(
            **loaded.features([clip]),
            suppress_tokens=[token for token in model.vocabulary.silent if token != 1],
            max_new_tokens=12,
        )[0, 1:].tolist()
        tokens = model.read([Request(clip)])[0].tokens
        assert tokens[:12] == tuple(generated)[: len(tokens)]


def test_the_language_is_the_likeliest_of_those_there_are(whisper: Loaded) -> None:
    loaded, model = whisper
    detected = loaded.model.detect_language(**loaded.features(CLIPS)).tolist()
    names = loaded.tokenizer.convert_ids_to_tokens(detected)
    expected = [name.strip("<|>").replace("jw", "jv") for name in names]
    assert set(model.languages) == {"en", "de", "jv"}
    assert [reading.language for reading in model.read([Request(clip) for clip in CLIPS])] == expected


def test_prefixes_of_different_length_share_a_batch(either: Loaded) -> None:
    _, model = either
    letters = [token for token, piece in enumerate(model.vocabulary.pieces) if piece.isalpha()]
    prefixes = [(), tuple(letters[:1]), tuple(letters[3:11]), tuple(letters[5:8])]
    requests = [Request(clip, prefix=prefix) for clip, prefix in zip(CLIPS, prefixes, strict=True)]
    for request, reading in zip(requests, model.read(requests), strict=True):
        alone = model.read([request])[0]
        assert reading.tokens[: len(request.prefix)] == request.prefix
        assert len(reading.tokens) == len(request.prefix) + len(reading.logprobs)
        assert reading.tokens == alone.tokens
        assert reading.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_its_own_beginning_as_a_prefix_changes_nothing(either: Loaded) -> None:
    _, model = either
    for clip in CLIPS:
        whole = model.read([Request(clip)])[0]
        count = len(whole.tokens) // 2
        forced = model.read([Request(clip, prefix=whole.tokens[:count])])[0]
        assert forced.tokens[: len(whole.tokens)] == whole.tokens[: len(forced.tokens)]
        shared = min(len(forced.logprobs), len(whole.logprobs) - count)
        assert forced.logprobs[:shared] == pytest.approx(whole.logprobs[count : count + shared], abs=1e-4)


def test_drafts_change_nothing(either: Loaded) -> None:
    _, model = either
    plain = model.read([Request(clip, prefix=(70,)) for clip in CLIPS])
    right = tuple(reading.tokens[1:] for reading in plain)
    drafts = (right[0], (*right[1][:2], 20, 21), (22,), ())
    drafted = model.read([Request(clip, prefix=(70,), draft=draft) for clip, draft in zip(CLIPS, drafts, strict=True)])
    for reading, expected in zip(drafted, plain, strict=True):
        assert reading.tokens == expected.tokens
        assert reading.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_drafts_at_the_very_beginning_may_not_begin_with_what_is_suppressed(whisper: Loaded) -> None:
    _, model = whisper
    plain = model.read([Request(clip) for clip in CLIPS])
    drafted = model.read([Request(clip, draft=reading.tokens) for clip, reading in zip(CLIPS, plain, strict=True)])
    assert [reading.tokens for reading in drafted] == [reading.tokens for reading in plain]
    first = {chr(reading.tokens[0] + 0x21) for reading in plain}
    assert not first & set("abcdefghijklmnop")


def test_a_reading_ends_at_its_limit(checkpoint: Callable[[str], Path]) -> None:
    _, model = load(checkpoint("moonshine"), TransformersSettings(least_tokens=2, tokens_per_sec=1.0))
    assert [
        len(reading.tokens) <= 2 + round(len(clip) / 16000)
        for clip, reading in zip(CLIPS, model.read([Request(clip) for clip in CLIPS]), strict=True)
    ] == [True] * len(CLIPS)
    (reading,) = model.read([Request(CLIPS[2], prefix=(70, 71, 72))])
    assert (reading.tokens, reading.logprobs) == ((70, 71, 72), ())


def test_keyterms_give_way_where_there_is_no_room(whisper: Loaded) -> None:
    """They may be set while a segment is long already: neither what is stable nor the draft may burst the decoder."""
    _, model = whisper
    said = tuple(range(40, 90))
    (reading,) = model.read([Request(CLIPS[1], "en", keyterms=("abcdefghijklmnop",), prefix=said, draft=said)])
    assert reading.tokens[: len(said)] == said


def test_keyterms_stand_before_the_text_of_their_own_row_only(whisper: Loaded) -> None:
    _, model = whisper
    assert model.keyterms
    requests = [Request(clip, "en") for clip in CLIPS]
    plain = model.read(requests)
    mixed = model.read([replace(requests[0], keyterms=("Kubernetes", "etcd")), *requests[1:]])
    assert [reading.tokens for reading in mixed[1:]] == [reading.tokens for reading in plain[1:]]
    assert mixed[0].tokens == model.read([replace(requests[0], keyterms=("Kubernetes", "etcd"))])[0].tokens


def test_keyterms_never_make_a_reading_less_likely(whisper: Loaded) -> None:
    """A random model doubts everything, so both readings are compared."""
    _, model = whisper

    def mean(logprobs: tuple[float, ...]) -> float:
        return sum(logprobs) / len(logprobs)

    for clip in CLIPS:
        plain, favoured = model.read([Request(clip, "en"), Request(clip, "en", keyterms=("ab", "cd"))])
        assert mean(favoured.logprobs) >= mean(plain.logprobs) - 1e-4


def test_as_many_keyterms_as_there_is_room_for(checkpoint: Callable[[str], Path]) -> None:
    loaded, model = load(checkpoint("whisper"), TransformersSettings(keyterm_tokens=9))
    before, start = (
        loaded.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("startofprev", "startoftranscript")
    )
    tokens = model._prompt.tokens("de", ("abc", " de", "fghi"))
    assert tokens[0] == before
    assert loaded.tokenizer.decode(tokens[1 : tokens.index(start)]) == " abc, de."
    assert model._prompt.tokens("de", ("a" * 9,))[0] == start


def test_moonshine_has_neither_times_nor_keyterms_nor_a_choice_of_language(moonshine: Loaded) -> None:
    _, model = moonshine
    assert not model.keyterms
    assert model.languages == ()
    (reading,) = model.read([Request(CLIPS[0], "en", keyterms=("abc",), timed=True)])
    assert reading.spans is None
    assert reading.language == "en"
    assert reading.tokens == model.read([Request(CLIPS[0], "en")])[0].tokens
