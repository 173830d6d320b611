import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.decode import SAMPLE_TYPES, SampleDecoder


@pytest.mark.parametrize(
    ("dtype", "data", "expected"),
    [
        ("int16", struct.pack("<4h", 0, 16384, -32768, 32767), [0, 0.5, -1, 32767 / 32768]),
        ("int24", bytes.fromhex("000000 000040 000080 ffff7f"), [0, 0.5, -1, 8388607 / 8388608]),
        ("int32", struct.pack("<3i", 0, 2**30, -(2**31)), [0, 0.5, -1]),
        ("uint8", bytes([128, 192, 0]), [0, 0.5, -1]),
        ("float32", struct.pack("<3f", 0, 0.25, -1), [0, 0.25, -1]),
        ("float64", struct.pack("<3d", 0, 0.25, -1), [0, 0.25, -1]),
    ],
)
def test_known_values(dtype: str, data: bytes, expected: list[float]):
    decoded = SampleDecoder(dtype, 1).receive(data)
    assert decoded.dtype == np.float32
    assert decoded[:, 0].tolist() == pytest.approx(expected, abs=1e-7)


def test_channels_are_interleaved():
    decoded = SampleDecoder("int16", 3).receive(struct.pack("<6h", 0, 8192, 16384, 1024, -8192, -16384))
    assert decoded.tolist() == [[0, 0.25, 0.5], [0.03125, -0.25, -0.5]]


@given(st.sampled_from(sorted(SAMPLE_TYPES)), st.integers(1, 8), st.binary(max_size=300), st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_same_samples(dtype: str, channels: int, data: bytes, draw: st.DataObject):
    whole = SampleDecoder(dtype, channels)
    expected = whole.receive(data)
    cut = SampleDecoder(dtype, channels)
    pieces, rest = [], data
    while rest:
        size = draw.draw(st.integers(1, 40))
        pieces.append(cut.receive(rest[:size]))
        rest = rest[size:]
    assert np.array_equal(np.concatenate([np.zeros((0, channels)), *pieces]), expected)
    assert cut.pending_bytes == whole.pending_bytes == len(data) % (SAMPLE_TYPES[dtype].size * channels)


@pytest.mark.parametrize(("dtype", "letter"), [("float32", "f"), ("float64", "d")])
def test_bad_floats_become_harmless_and_are_counted(dtype: str, letter: str):
    values = [0.5, float("nan"), float("inf"), float("-inf"), 3e4, -1.5, -0.5]
    decoder = SampleDecoder(dtype, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decoder.receive(struct.pack(f"<7{letter}", *values))
    assert decoded[:, 0].tolist() == [0.5, 0, 1, -1, 1, -1, -0.5]
    assert (decoder.invalid_samples, decoder.clipped_samples) == (1, 4)


def test_a_double_beyond_float32_is_clipped():
    assert SampleDecoder("float64", 1).receive(struct.pack("<d", 1e300)).tolist() == [[1]]


def test_samples_do_not_alias_the_callers_bytes():
    decoded = SampleDecoder("float32", 1).receive(struct.pack("<f", 0.5))
    decoded[0, 0] = 0.25  # a view of bytes would refuse
    assert decoded[0, 0] == 0.25
