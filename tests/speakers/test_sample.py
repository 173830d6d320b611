"""Which recordings are a sample of one voice, and what is said of the others."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from stream_server.audio.vad import VadSettings, WebRtcVad
from stream_server.jobs.error import JobError, Reason
from stream_server.speakers import sample as module
from stream_server.speakers.sample import VoiceSample, take_sample
from stream_server.speakers.solo import longest_spans, solo_spans
from stream_server.speakers.turn import Turn
from tests.support.clip import DAMAGED, PICTURE
from tests.support.speech import recording
from tests.support.tone import RATE, ToneDiarization, ToneDiarizer, ToneEmbedder, silence, voice

VAD = WebRtcVad(VadSettings())


def wav(*pieces: NDArray[np.float32], rate: int = RATE) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), rate, format="WAV", subtype="FLOAT")
    return file


def take(file: io.BytesIO, *, shortest_sec: float = 1.0, embedder: ToneEmbedder | None = None) -> VoiceSample:
    return take_sample(file, embedder or ToneEmbedder(), ToneDiarizer(), VAD, shortest_sec=shortest_sec)


def refusal(file: io.BytesIO) -> JobError:
    with pytest.raises(JobError) as caught:
        take(file)
    assert caught.value.parameter == "file"
    return caught.value


def test_speech_is_taken_without_its_pauses() -> None:
    embedder = ToneEmbedder()
    found = take(wav(silence(1), voice(400, 2), silence(1), voice(400, 1)), embedder=embedder)
    assert (found.speech_sec, found.heard_sec) == (3.0, 5.0)
    assert embedder.heard[-1] == 3.0
    assert found.vector @ embedder.embed(voice(400, 1)) > 0.99


def test_channels_are_heard_as_one() -> None:
    stereo = np.stack([np.concatenate([voice(400, 2), silence(2)]), silence(4)], axis=1)
    assert take(wav(stereo)).speech_sec == 2.0
    both = np.stack([np.concatenate([voice(400, 2), silence(2)]), np.concatenate([silence(2), voice(900, 2)])], axis=1)
    assert "2 voices" in refusal(wav(both)).message


def test_what_is_said_at_the_same_time_is_left_out() -> None:
    turns = [Turn(0, 4000, "a"), Turn(3000, 5000, "b"), Turn(6000, 7000, "a"), Turn(6200, 6300, "b")]
    assert solo_spans(turns) == {"a": [(0, 3000), (6000, 6200), (6300, 7000)], "b": [(4000, 5000)]}
    assert solo_spans([Turn(0, 10, "a"), Turn(10, 20, "a"), Turn(0, 20, "b")]) == {"a": [], "b": []}
    assert solo_spans([Turn(0, 10, "a"), Turn(10, 20, "a")]) == {"a": [(0, 20)]}


def test_the_longest_spans_are_taken() -> None:
    spans = [(0, 300), (1000, 3000), (4000, 5000)]
    assert longest_spans(spans, 2500) == [(1000, 3000), (4000, 4500)]
    assert longest_spans(spans, 10_000) == spans


def test_silence_is_no_sample() -> None:
    error = refusal(wav(silence(3)))
    assert (error.reason, error.message) == (Reason.INVALID_PARAMETER, "no speech is heard in the recording")


def test_a_short_sample_is_told_how_much_is_needed() -> None:
    error = refusal(wav(silence(1), voice(400, 0.2), silence(1)))
    assert error.reason is Reason.INVALID_PARAMETER
    assert error.message == "0.2 s of one person's speech are heard; at least 1 s are needed"
    with pytest.raises(JobError, match=r"1\.5 s .* at least 2 s are needed"):
        take(wav(voice(400, 1.5)), shortest_sec=2.0)


def test_two_voices_are_told_how_much_each_speaks() -> None:
    error = refusal(wav(voice(400, 2), voice(900, 3)))
    assert error.message == "2 voices are heard in the recording (3.0 s, 2.0 s); send one person's speech alone"


def test_a_cough_is_no_second_voice() -> None:
    embedder = ToneEmbedder()
    found = take(wav(voice(400, 2), voice(900, 0.4), voice(400, 3)), embedder=embedder)
    assert embedder.heard[-1] == 5.0
    assert found.vector @ embedder.embed(voice(400, 1)) > 0.99


@pytest.mark.parametrize(("content", "message"), [(PICTURE, "audio"), (DAMAGED, "damaged|audio"), (b"", "empty")])
def test_what_is_no_audio(content: bytes, message: str) -> None:
    error = refusal(io.BytesIO(content))
    assert error.reason is Reason.UNSUPPORTED_FORMAT
    assert any(word in error.message for word in message.split("|"))


def test_no_more_is_heard_than_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTEN_SEC", 4)
    monkeypatch.setattr(module, "MOST_SPEECH_MS", 2000)
    embedder = ToneEmbedder()
    found = take(wav(voice(400, 3), silence(1.5), voice(900, 5)), embedder=embedder)
    assert (found.heard_sec, embedder.heard) == (4.0, [1.0, 1.0, 2.0])
    assert take(wav(voice(400, 5), rate=11_025)).heard_sec == 4.0
    monkeypatch.setattr(module, "LISTEN_SEC", 120)
    assert "in its first 2 minutes" in refusal(wav(silence(121))).message


def test_a_recording_is_closed_whatever_happens() -> None:
    diarizer = ToneDiarizer()
    with pytest.raises(JobError):
        take_sample(wav(silence(1)), ToneEmbedder(), diarizer, VAD, shortest_sec=1.0)
    assert [each.is_closed for each in diarizer.opened] == [True]


def test_two_voices_that_were_taken_for_one_are_heard_in_its_halves() -> None:
    class DeafDiarization(ToneDiarization):
        def finish(self) -> tuple[Turn, ...]:
            return tuple(Turn(turn.start_ms, turn.end_ms, "SPEAKER_00") for turn in super().finish())

    class DeafDiarizer(ToneDiarizer):
        def open(self, num_speakers: int | None = None) -> ToneDiarization:
            return DeafDiarization()

    def listen(file: io.BytesIO) -> VoiceSample:
        return take_sample(file, ToneEmbedder(), DeafDiarizer(), VAD, shortest_sec=1.0)

    with pytest.raises(JobError, match="the beginning and the end of the recording are of two voices"):
        listen(wav(voice(400, 2), voice(900, 2)))
    assert listen(wav(voice(400, 2), voice(400, 2))).speech_sec == 4.0
    assert listen(wav(voice(400, 0.9), voice(900, 0.9))).speech_sec == 1.8  # too little to be told from itself


def test_without_a_diarizer_speech_is_found_by_its_sound() -> None:
    speech, embedder = recording("beckett.wav"), ToneEmbedder()
    found = take_sample(wav(silence(5), speech), embedder, None, VAD, shortest_sec=2.0)
    assert 4 < found.speech_sec < len(speech) / RATE
    with pytest.raises(JobError, match="no speech"):
        take_sample(wav(silence(5)), embedder, None, VAD, shortest_sec=2.0)
