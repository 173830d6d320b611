"""The speakers of a recording get the names that they are registered under."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from stream_server.speakers.naming import MOST_SPEECH_MS, name_speakers
from stream_server.speakers.registry import Voices
from stream_server.speakers.turn import Turn
from tests.support.tone import RATE, ToneEmbedder, silence, voice

PRIYA, RAHUL, SOMEBODY = 400, 1200, 2800


EMBEDDER = ToneEmbedder()
KNOWN = Voices(
    ("Priya", "Rahul"), np.array([EMBEDDER.embed(voice(pitch, 2)) for pitch in (PRIYA, RAHUL)]), EMBEDDER.calibration
)


def wav(*pieces: NDArray[np.float32]) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), RATE, format="WAV")
    return file


def turns_of(*seconds: tuple[float, float, str]) -> list[Turn]:
    return [Turn(round(start * 1000), round(end * 1000), speaker) for start, end, speaker in seconds]


class Refusing(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise AssertionError("there was no need to read it")


def test_who_is_registered_is_named() -> None:
    file = wav(silence(1), voice(RAHUL, 3), silence(0.5), voice(SOMEBODY, 2), voice(PRIYA, 2))
    turns = turns_of((1, 4, "SPEAKER_00"), (4.5, 6.5, "SPEAKER_01"), (6.5, 8.5, "SPEAKER_02"))
    names = name_speakers(turns, file, KNOWN, ToneEmbedder())
    assert names == {"SPEAKER_00": "Rahul", "SPEAKER_02": "Priya"}


def test_a_name_is_given_once_to_the_surer_one() -> None:
    like_priya = voice(PRIYA, 3) + 0.7 * voice(SOMEBODY, 3)
    file = wav(like_priya, voice(PRIYA, 3), like_priya)
    turns = turns_of((0, 3, "SPEAKER_00"), (3, 6, "SPEAKER_01"), (6, 9, "SPEAKER_02"))
    assert name_speakers(turns, file, KNOWN, ToneEmbedder()) == {"SPEAKER_01": "Priya"}
    alone = name_speakers(turns[:1], file, KNOWN, ToneEmbedder())
    assert alone == {"SPEAKER_00": "Priya"}


def test_only_what_is_said_alone_is_listened_to() -> None:
    file = wav(voice(PRIYA, 2), voice(PRIYA, 1) + voice(RAHUL, 1), voice(RAHUL, 4), voice(PRIYA, 0.9))
    turns = turns_of((0, 3, "SPEAKER_00"), (2, 7, "SPEAKER_01"), (7, 7.9, "SPEAKER_02"))
    embedder = ToneEmbedder()
    names = name_speakers(turns, file, KNOWN, embedder)
    assert names == {"SPEAKER_00": "Priya", "SPEAKER_01": "Rahul"}
    assert embedder.heard == [2.0, 4.0]  # and the third says too little to be known by it


def test_no_more_is_kept_than_is_of_use() -> None:
    file = wav(voice(PRIYA, 30), voice(RAHUL, 3), silence(10))
    turns = turns_of((0, 30, "SPEAKER_00"), (30, 33, "SPEAKER_01"))
    embedder, read = ToneEmbedder(), []
    names = name_speakers(turns, file, KNOWN, embedder, check=lambda: read.append(1))
    assert names == {"SPEAKER_00": "Priya", "SPEAKER_01": "Rahul"}
    assert embedder.heard == [MOST_SPEECH_MS / 1000, 3.0]
    assert len(read) < 40  # the silence at the end is not read


def test_where_there_is_nobody_to_be_known_nothing_is_read() -> None:
    nobody = Voices((), np.zeros((0, 1), np.float32), EMBEDDER.calibration)
    assert name_speakers(turns_of((0, 3, "SPEAKER_00")), Refusing(), nobody, ToneEmbedder()) == {}
    assert name_speakers([], Refusing(), KNOWN, ToneEmbedder()) == {}
    assert name_speakers(turns_of((0, 0.9, "SPEAKER_00")), Refusing(), KNOWN, ToneEmbedder()) == {}


def test_it_is_given_up_when_it_is_to_be() -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    with pytest.raises(StopError):
        name_speakers(turns_of((0, 3, "SPEAKER_00")), wav(voice(PRIYA, 3)), KNOWN, ToneEmbedder(), check=stop)
