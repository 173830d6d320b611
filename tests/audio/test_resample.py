import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.resample import SAMPLE_RATE, Resampler

RATES = (8000, 11025, 22050, 44100, 48000, 96000, 192000)


def resample(samples: np.ndarray, rate: int, size: int) -> np.ndarray:
    resampler = Resampler(rate, samples.shape[1])
    pieces = [resampler.receive(samples[start : start + size]) for start in range(0, len(samples), size)]
    return np.concatenate([*pieces, resampler.finish()], axis=1)


def tone(rate: int, seconds: float, hertz: float, delay: float = 0.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate - delay
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_comes_out_at_the_same_time(rate: int):
    result = resample(tone(rate, 1, 440)[:, None], rate, rate // 50)[0]
    assert len(result) == SAMPLE_RATE
    assert np.abs(result - tone(SAMPLE_RATE, 1, 440))[800:-800].max() < 1e-4


def test_what_16_khz_cannot_hold_is_filtered_out():
    assert np.abs(resample(tone(48000, 1, 11000)[:, None], 48000, 960)[0, 800:-800]).max() < 1e-4


def test_16_khz_passes_untouched():
    samples = np.random.default_rng(1).uniform(-1, 1, (1000, 2)).astype(np.float32)
    resampler = Resampler(SAMPLE_RATE, 2)
    assert np.array_equal(resampler.receive(samples), samples.T)
    assert resampler.finish().shape == (2, 0)


@given(st.sampled_from(RATES), st.integers(1, 8), st.integers(0, 9000), st.integers(1, 3000), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_streamed_equals_whole(rate: int, channels: int, length: int, size: int, seed: int):
    samples = np.random.default_rng(seed).uniform(-1, 1, (length, channels)).astype(np.float32)
    size = max(size, length // 200)  # chunks of one sample, but not thousands of them
    whole = resample(samples, rate, length + 1)
    streamed = resample(samples, rate, size)
    assert whole.shape == streamed.shape
    assert abs(whole.shape[1] - length * SAMPLE_RATE / rate) <= 1
    assert np.abs(whole - streamed).max(initial=0) < 1e-6


def test_channels_do_not_mix():
    both = np.stack([tone(44100, 0.5, 300), np.zeros(22050, np.float32)], axis=1)
    result = resample(both, 44100, 441)
    assert np.abs(result[0]).max() > 0.4
    assert not result[1].any()


def test_clipped_input_stays_within_full_scale():
    square = np.sign(tone(48000, 0.5, 500))[:, None]
    assert np.abs(resample(square, 48000, 480)).max() <= 1
