"""From what a caller asks for to what is in force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream_protocol.errors import ClientError, ErrorCode
from stream_protocol.messages import Init
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.negotiation import ignored_fields, negotiate
from tests.support.fake import INFO

VADS = ("webrtc", "silero")
MANY = replace(INFO, languages=("en", "pt-BR", "zh"))


def refused(served: RecognizerInfo = INFO, **init: object) -> ClientError:
    with pytest.raises(ClientError) as caught:
        negotiate(Init(**init), served, VADS)  # type: ignore[arg-type]
    return caught.value


def test_the_defaults() -> None:
    config = negotiate(Init(), INFO, VADS)
    assert (config.model, config.language, config.vad) == ("fake", "en", "webrtc")
    assert config.audio.dtype == "float32"
    assert (config.chunk_size_sec, config.silence_threshold_sec, config.max_segment_sec) == (0.5, 0.8, 20.0)


@pytest.mark.parametrize("name", ["fake", "auto", None])
def test_the_model_by_its_name_or_none(name: str | None) -> None:
    assert negotiate(Init(model=name), INFO, VADS).model == "fake"


def test_a_model_by_an_alias() -> None:
    assert negotiate(Init(model="whisper-1"), INFO, VADS, aliases=("zero-indic", "whisper-1")).model == "fake"


def test_another_model_is_refused_with_the_list() -> None:
    error = refused(model="x" * 10_000)
    assert error.code is ErrorCode.MODEL_NOT_FOUND
    assert "served: fake" in error.message
    assert len(error.message) < 200


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        ("en", "en"),
        ("EN-gb", "en"),
        ("pt_br", "pt-BR"),
        ("pt", "pt-BR"),
        ("zh-Hant-TW", "zh"),
        ("auto", "auto"),
        ("", "auto"),
    ],
)
def test_a_language_is_served_by_its_relative(asked: str, spoken: str) -> None:
    assert negotiate(Init(language=asked), MANY, VADS).language == spoken


def test_another_language_is_refused_with_the_list() -> None:
    error = refused(MANY, language="fr")
    assert error.code is ErrorCode.LANGUAGE_NOT_SUPPORTED
    assert "it speaks: en, pt-BR, zh" in error.message


def test_a_detector_that_is_not_there() -> None:
    error = refused(vad="ears")
    assert error.code is ErrorCode.INVALID_INIT
    assert "webrtc, silero" in error.message
    assert negotiate(Init(vad="silero"), INFO, VADS).vad == "silero"


def test_what_the_model_cannot_do_is_not_in_force() -> None:
    modest = replace(INFO, max_segment_sec=12.0, keyterms=False)
    init = Init(max_segment_sec=60, keyterms=["Beckett"], mood="sad")  # type: ignore[call-arg]
    config = negotiate(init, modest, VADS)
    assert (config.max_segment_sec, config.keyterms) == (12.0, ())
    assert ignored_fields(init, modest) == ("keyterms", "mood")
    assert negotiate(init, INFO, VADS).keyterms == ("Beckett",)
    assert ignored_fields(init, INFO) == ("mood",)


def test_voices_that_cannot_be_told_apart_are_refused_and_channels_are_not() -> None:
    reason = "diarization is switched off on this server (diarizer=off)"
    assert negotiate(Init(diarize=True), INFO, VADS).diarize
    with pytest.raises(ClientError, match=r"field 'diarize': .*\(diarizer=off\); .*'channels'") as caught:
        negotiate(Init(diarize=True), INFO, VADS, no_diarization=reason)
    assert caught.value.code is ErrorCode.INVALID_INIT
    assert negotiate(Init(diarize=True, channels=2), INFO, VADS, no_diarization=reason).diarize
    assert not negotiate(Init(), INFO, VADS, no_diarization=reason).diarize
