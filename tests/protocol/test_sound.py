from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import webrtcvad

from stream_protocol.audio_format import SAMPLE_BYTES
from tests.protocol.sound import render, synthesize
from tests.protocol.vector import Audio


@pytest.mark.parametrize("sample_rate", [8000, 16000, 48000])
@pytest.mark.parametrize("mode", range(4))
def test_the_vad_takes_speech_for_speech_throughout_and_silence_never(sample_rate: int, mode: int) -> None:
    frame = sample_rate // 50
    for kind, expected in (("speech", True), ("silence", False)):
        vad = webrtcvad.Vad(mode)
        pcm = (synthesize(kind, 5 * sample_rate, sample_rate) * 32767).astype("<i2")  # type: ignore[arg-type]
        judged = [vad.is_speech(pcm[at : at + frame].tobytes(), sample_rate) for at in range(0, len(pcm), frame)]
        assert judged == [expected] * 250


@pytest.mark.parametrize("dtype", SAMPLE_BYTES)
def test_samples_are_packed_as_asked_for(dtype: str) -> None:
    audio = Audio.model_validate({"kind": ["speech", "silence"], "seconds": 0.5, "dtype": dtype, "sample_rate": 8000})
    data = render(audio)
    assert len(data) == 4000 * 2 * SAMPLE_BYTES[dtype]
    assert data == render(audio)


def test_a_wav_header_says_what_follows() -> None:
    data = render(Audio(kind="speech", seconds=0.5, wav=True))
    samples, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert sample_rate == 16000
    np.testing.assert_allclose(samples, synthesize("speech", 8000, 16000), atol=1 / 32768)
    assert data.endswith(render(Audio(kind="speech", seconds=0.5)))
