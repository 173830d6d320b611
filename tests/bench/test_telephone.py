"""Audio as a telephone carries it."""

import numpy as np

from bench.telephone import encode, limit_band, widen_band
from stream_server.audio.g711 import ULAW


def test_every_level_of_the_table_is_encoded_exactly() -> None:
    assert np.array_equal(ULAW[np.frombuffer(encode(ULAW), np.uint8)], ULAW)


def test_the_nearest_level_is_chosen() -> None:
    audio = np.random.default_rng(1).uniform(-1, 1, 2000).astype(np.float32)
    error = np.abs(ULAW[np.frombuffer(encode(audio), np.uint8)] - audio)
    best = np.abs(ULAW[None, :] - audio[:, None]).min(axis=1)
    assert np.allclose(error, best, atol=1e-7)


def test_only_what_is_below_4_khz_comes_back() -> None:
    time = np.arange(16_000) / 16_000
    low, high = (0.4 * np.sin(2 * np.pi * pitch * time).astype(np.float32) for pitch in (1_000, 6_000))
    heard = widen_band(limit_band(low + high, 16_000), 16_000)
    inner = slice(1_000, -1_000)  # a filter rings at the ends
    assert len(heard) == len(low)
    assert float(np.abs(heard[inner] - low[inner]).max()) < 0.01
