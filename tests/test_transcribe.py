"""Recordings through the live path's own parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream_protocol.errors import ErrorCode, StreamError
from stream_server import transcribe as transcribe_module
from stream_server.audio.error import UnsupportedAudio
from stream_server.engine.moonshine.asset import find_recording
from stream_server.settings import Settings
from stream_server.speakers.diarizer import DiarizerError
from stream_server.speakers.turn import Turn
from stream_server.transcribe import Transcriber
from tests.support.fake import FakeRecognizer
from tests.support.speakers import FakeSpeakers, ScriptedDiarizer
from tests.support.speech import moonshine

SETTINGS = Settings.load({})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRecognizer:
    recognizer = FakeRecognizer()
    monkeypatch.setattr(transcribe_module, "load_recognizer", lambda name, settings: recognizer)
    return recognizer


def test_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe_module, "load_recognizer", lambda name, settings: moonshine())
    shares: list[float] = []
    with Transcriber(SETTINGS) as transcriber:
        transcript = transcriber.transcribe(find_recording("beckett.wav"), shares.append)
        again = transcriber.transcribe(find_recording("beckett.wav"))
    assert "tried" in transcript.text.lower()
    assert again == transcript
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for segment in transcript.segments:
        assert segment.start_ms < segment.end_ms <= transcript.duration_ms
        assert " ".join(word.word for word in segment.words) == segment.text
        assert segment.start_ms <= segment.words[0].start_ms
        assert segment.words[-1].end_ms <= segment.end_ms


def test_several_channels_are_mixed_and_a_backlog_is_waited_for(fake: FakeRecognizer, tmp_path: Path) -> None:
    """Much more audio than may wait for finals, on two channels that are half as loud each."""
    voice = soundfile.read(find_recording("two_cities.wav"), dtype="float32")[0]
    voice = voice if voice.ndim == 1 else voice[:, 0]
    rate = soundfile.info(find_recording("two_cities.wav")).samplerate
    file = tmp_path / "two.wav"
    soundfile.write(file, np.stack([voice, voice], axis=1), rate)
    with Transcriber(Settings.load({}, max_backlog=1.0)) as transcriber:
        transcript = transcriber.transcribe(file)
    assert transcript.duration_ms == pytest.approx(1000 * len(voice) / rate, abs=2)
    assert {segment.channel for segment in transcript.segments} == {0}
    assert len(transcript.text.split()) > 50


def test_speakers_are_told_apart_on_request(fake: FakeRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = (Turn(0, 5000, "SPEAKER_00"), Turn(5000, 9900, "SPEAKER_01"))
    diarizer = ScriptedDiarizer(turns)
    monkeypatch.setattr(transcribe_module, "load_speakers", lambda settings: FakeSpeakers(diarizer))
    shares: list[float] = []
    with Transcriber(SETTINGS) as transcriber:
        plain = transcriber.transcribe(find_recording("beckett.wav"))
        assert diarizer.opened == []
        told = transcriber.transcribe(find_recording("beckett.wav"), shares.append, diarize=True, num_speakers=2)
        diarizer.fails = "hear"
        with pytest.raises(DiarizerError):
            transcriber.transcribe(find_recording("beckett.wav"), diarize=True)
    assert (diarizer.opened, diarizer.closed) == ([2, None], 2)
    assert (plain.turns, told.turns, told.text) == ((), turns, plain.text)
    assert {segment.speaker for segment in told.segments} == {"SPEAKER_00", "SPEAKER_01"}
    assert {segment.speaker for segment in plain.segments} == {None}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_real_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people, told apart by the embedded models; the recognizer takes most of it for two segments."""
    monkeypatch.setattr(transcribe_module, "load_recognizer", lambda name, settings: moonshine())
    with Transcriber(SETTINGS) as transcriber:
        transcript = transcriber.transcribe(find_recording("endgame_nagg_nell.wav"), diarize=True)
    said = [(segment.speaker, segment.text) for segment in transcript.segments]
    assert [speaker for speaker, _ in said] == ["SPEAKER_00", "SPEAKER_01"] * 7
    assert said[:4] == 2 * [("SPEAKER_00", "Do you hear me?"), ("SPEAKER_01", "Yes.")]
    assert "resource" in said[4][1]
    assert "resource" in said[5][1]
    assert "ditch" in said[12][1]
    assert all(word.speaker == segment.speaker for segment in transcript.segments for word in segment.words)
    assert len(transcript.turns) == 14


def test_what_goes_wrong(fake: FakeRecognizer, tmp_path: Path) -> None:
    with Transcriber(SETTINGS) as transcriber:
        with pytest.raises(OSError, match="missing"):
            transcriber.transcribe(tmp_path / "missing.wav")
        text = tmp_path / "text.wav"
        text.write_text("not audio at all")
        with pytest.raises(UnsupportedAudio):
            transcriber.transcribe(text)
        with pytest.raises(StreamError) as caught:
            transcriber.transcribe(find_recording("beckett.wav"), language="tlh")
        assert caught.value.code is ErrorCode.LANGUAGE_NOT_SUPPORTED
        fake.fails = True
        with pytest.raises(StreamError) as caught:
            transcriber.transcribe(find_recording("beckett.wav"))
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        fake.fails = False
        assert transcriber.transcribe(find_recording("beckett.wav")).segments, "the next file is transcribed"
