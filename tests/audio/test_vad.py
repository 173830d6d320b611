"""Voice activity detection: both backends judge real speech, and judge it the same alone, batched and in any pieces."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from stream_server.audio import silero
from stream_server.audio.vad import BACKENDS, NoiseGate, VadModel, VadSettings, VadUnavailableError, load_vad

Audio = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Audio:
    """The 10 s recording in the moonshine-voice wheel, at 16 kHz."""
    spec = find_spec("moonshine_voice")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "assets" / "beckett.wav"
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, 16_000), np.float32)


@pytest.fixture(scope="module", params=BACKENDS)
def model(request: pytest.FixtureRequest) -> VadModel:
    if request.param == "silero" and find_spec("silero_vad") is None:
        pytest.skip("the Silero VAD is not installed (pip install 'stream-server[silero]')")
    return load_vad(request.param, VadSettings())


def whole_frames(model: VadModel, audio: Audio) -> Audio:
    return audio[: len(audio) // model.frame_samples * model.frame_samples]


def noise(seconds: int, amplitude: float) -> Audio:
    return (np.random.default_rng(3).standard_normal(seconds * 16_000) * amplitude).astype(np.float32)


def test_speech_is_speech_and_silence_is_not(model: VadModel, speech: Audio) -> None:
    audio = whole_frames(model, np.concatenate((np.zeros(32_000, np.float32), speech, np.zeros(48_000, np.float32))))
    [judged] = model.detect([model.new_state()], [audio])
    assert len(judged) == len(audio) // model.frame_samples
    assert judged.dtype == np.float32
    seconds = np.arange(len(judged)) * model.frame_samples / 16_000
    assert judged.min() >= 0
    assert judged.max() <= 1
    assert np.mean(judged[seconds < 2] > 0.3) == 0
    assert np.mean(judged[(seconds > 2) & (seconds < 12)] > 0.3) > 0.4
    assert np.mean(judged[seconds > 12.5] > 0.3) == 0


def test_steady_noise_is_not_speech_for_long(model: VadModel) -> None:
    audio = whole_frames(model, noise(20, 0.05))
    [judged] = model.detect([model.new_state()], [audio])
    assert np.mean(judged[len(judged) // 2 :] > 0.3) < 0.02


def test_speech_in_noise_is_found(model: VadModel, speech: Audio) -> None:
    level = float(np.sqrt(np.mean(np.square(speech))))
    background = noise(40, level * 0.3)
    background[160_000 : 160_000 + len(speech)] += speech
    [judged] = model.detect([model.new_state()], [whole_frames(model, background)])
    seconds = np.arange(len(judged)) * model.frame_samples / 16_000
    assert np.mean(judged[(seconds > 10) & (seconds < 19)] > 0.3) > 0.5
    assert np.mean(judged[(seconds > 6) & (seconds < 9.5)] > 0.3) < 0.02


def test_batched_equals_alone(model: VadModel, speech: Audio) -> None:
    clips = [
        speech,
        speech[8_000:],
        noise(3, 0.1),
        np.zeros(16_000, np.float32),
        speech[:1_000],
        np.empty(0, np.float32),
    ]
    clips = [whole_frames(model, clip) for clip in clips]
    alone = [model.detect([model.new_state()], [clip])[0] for clip in clips]
    batched = model.detect([model.new_state() for _ in clips], clips)
    for one, other in zip(alone, batched, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=1e-5)


def test_the_size_of_the_pieces_does_not_matter(model: VadModel, speech: Audio) -> None:
    audio = whole_frames(model, speech)
    [whole] = model.detect([model.new_state()], [audio])
    state = model.new_state()
    pieces, first = [], 0
    for count in np.random.default_rng(5).integers(0, 12, 1_000).tolist():
        pieces += model.detect([state], [audio[first : first + count * model.frame_samples]])
        first += count * model.frame_samples
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_changing_set_of_streams_shares_nothing(model: VadModel, speech: Audio) -> None:
    """Streams come, go and change places in the batch; each is judged as if it were alone."""
    frame = model.frame_samples
    clips = {
        name: whole_frames(model, np.roll(speech, shift)) for name, shift in (("a", 0), ("b", 9_999), ("c", 55_555))
    }
    alone = {name: model.detect([model.new_state()], [clip])[0] for name, clip in clips.items()}
    states = {name: model.new_state() for name in clips}
    heard = dict.fromkeys(clips, 0)
    random = np.random.default_rng(8)
    for _ in range(60):
        names = random.permutation(list(clips))[: random.integers(1, 4)].tolist()
        counts = random.integers(1, 4, len(names)).tolist()
        frames = [
            clips[name][heard[name] * frame :][: count * frame] for name, count in zip(names, counts, strict=True)
        ]
        for name, count, judged in zip(
            names, counts, model.detect([states[name] for name in names], frames), strict=True
        ):
            assert np.allclose(judged, alone[name][heard[name] : heard[name] + count], atol=1e-5)
            heard[name] += count


def test_an_unknown_detector_is_refused_with_the_choice() -> None:
    with pytest.raises(VadUnavailableError, match="webrtc, silero"):
        load_vad("crystal ball", VadSettings())


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(VadUnavailableError, match=r"stream-server\[silero\]"):
        load_vad("silero", VadSettings())


@pytest.mark.skipif(find_spec("silero_vad") is None, reason="the Silero VAD is not installed")
def test_silero_imports_neither_its_package_nor_torch() -> None:
    script = (
        "import sys\n"
        "from stream_server.audio.vad import VadSettings, load_vad\n"
        "load_vad('silero', VadSettings())\n"
        "print(sorted({'torch', 'silero_vad'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestNoiseGate:
    SETTINGS = VadSettings(noise_margin_db=6, loudness_frames=2, noise_frames=5, first_noise_dbfs=-90)

    def gate(self, powers: list[int], settings: VadSettings = SETTINGS) -> list[bool]:
        gate = NoiseGate(settings)
        return [gate.stands_out(power) for power in powers]

    def test_steady_noise_stops_standing_out_once_the_floor_has_risen_to_it(self) -> None:
        # The first frame's loudness is that of half a window, so the floor is that until it has left the memory.
        quiet = VadSettings(noise_margin_db=2.5, loudness_frames=2, noise_frames=5, first_noise_dbfs=-90)
        assert self.gate([10**8] * 10, quiet) == [True] * 5 + [False] * 5

    def test_what_is_louder_than_the_noise_stands_out(self) -> None:
        judged = self.gate([10**6] * 10 + [10**8] * 3 + [10**6] * 3)
        assert judged[6:] == [False] * 4 + [True] * 4 + [False] * 2

    def test_without_a_margin_the_gate_is_open(self) -> None:
        random = np.random.default_rng(1)
        powers = random.integers(0, 10**9, 100).tolist()
        assert all(self.gate(powers, VadSettings(noise_margin_db=0)))

    def test_the_floor_is_the_least_loudness_of_the_window(self) -> None:
        powers = np.random.default_rng(2).integers(1, 10**9, 300)
        loudness = np.convolve(powers, [1, 1])[: len(powers)]
        expected = [bool(loudness[i] >= loudness[max(0, i - 4) : i + 1].min() * 10**0.6) for i in range(len(powers))]
        assert self.gate(powers.tolist())[5:] == expected[5:]
