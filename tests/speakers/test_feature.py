"""The filter bank against its definition, written down once more, slowly and in double precision."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_server.speakers.community.feature import BANDS, HOP, WINDOW, filter_bank
from tests.support.speech import recording


def slow(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """As Kaldi's documentation describes a filter bank with these settings, number by number."""
    rows = []
    for first in range(0, len(samples) - 400 + 1, 160):
        frame = [32768.0 * float(sample) for sample in samples[first : first + 400]]
        mean = sum(frame) / 400
        frame = [sample - mean for sample in frame]
        emphasized = [frame[max(0, n)] - 0.97 * frame[max(0, n - 1)] for n in range(400)]
        windowed = [sample * (0.54 - 0.46 * math.cos(2 * math.pi * n / 399)) for n, sample in enumerate(emphasized)]
        rows.append([math.log(max(energy, 2.0**-23)) for energy in bands(windowed)])
    return np.array(rows)


def bands(windowed: list[float]) -> list[float]:
    turn = np.array([[cmath.exp(-2j * math.pi * k * n / 512) for n in range(400)] for k in range(257)])
    power = np.abs(turn @ np.array(windowed)) ** 2
    lowest, highest = mel(20), mel(8000)
    step = (highest - lowest) / 81
    energies = []
    for band in range(80):
        left, middle, right = (lowest + step * (band + edge) for edge in range(3))
        energy = 0.0
        for k in range(256):
            pitch = mel(k * 16000 / 512)
            if left < pitch <= middle:
                energy += power[k] * (pitch - left) / (middle - left)
            elif middle < pitch < right:
                energy += power[k] * (right - pitch) / (right - middle)
        energies.append(energy)
    return energies


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


@pytest.mark.parametrize("kind", ["speech", "tone", "silence"])
def test_it_is_the_definition(kind: str) -> None:
    samples = {
        "speech": recording("beckett.wav")[32_000 : 32_000 + 720],
        "tone": 0.3 * np.sin(np.arange(720) / 3).astype(np.float32),
        "silence": np.zeros(720, np.float32),
    }[kind]
    assert filter_bank(samples) == pytest.approx(slow(samples), abs=2e-3)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (160_000, 998)])
def test_frames_lie_within_the_audio(samples: int, frames: int) -> None:
    features = filter_bank(np.zeros(samples, np.float32))
    assert features.shape == (frames, BANDS)
    assert features.dtype == np.float32


def test_a_frame_depends_on_its_own_samples_only() -> None:
    samples = recording("beckett.wav")[:16_000]
    for number in (0, 40, 97):
        alone = filter_bank(samples[number * HOP : number * HOP + WINDOW])
        assert np.allclose(filter_bank(samples)[number], alone[0], atol=1e-4)


def test_a_constant_level_and_the_audio_itself_are_left_alone() -> None:
    samples = recording("beckett.wav")[16_000:20_000].copy()
    before = samples.copy()
    raised = filter_bank(samples + np.float32(0.05))
    assert np.allclose(raised, filter_bank(samples), atol=0.05)
    assert np.array_equal(samples, before)
