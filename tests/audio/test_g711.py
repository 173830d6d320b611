"""The tables against ITU-T G.711 as the recommendation writes it, and against libsndfile."""

import io

import numpy as np
import pytest
import soundfile

from stream_server.audio.g711 import ALAW, ULAW


def ulaw_value(code: int) -> int:
    """G.711 table 2: the character signal's bits are inverted; y = 2^s (2 q + 33) - 33 on a 14-bit scale."""
    bits = f"{255 - code:08b}"
    sign, segment, step = bits[0], int(bits[1:4], 2), int(bits[4:], 2)
    value = 2**segment * (2 * step + 33) - 33
    return (-value if sign == "1" else value) * 4


def alaw_value(code: int) -> int:
    """G.711 table 1: even bits are inverted; the first two segments are one straight line, on a 13-bit scale."""
    bits = f"{code ^ 0b01010101:08b}"
    sign, segment, step = bits[0], int(bits[1:4], 2), int(bits[4:], 2)
    value = 2 * step + 1 if segment == 0 else 2 ** (segment - 1) * (2 * step + 33)
    return (value if sign == "1" else -value) * 8


def test_every_ulaw_code():
    assert (ULAW * 32768).tolist() == [ulaw_value(code) for code in range(256)]
    assert ULAW[0xFF] == 0
    assert ULAW[0x80] * 32768 == 32124
    assert ULAW[0x00] * 32768 == -32124


def test_every_alaw_code():
    assert (ALAW * 32768).tolist() == [alaw_value(code) for code in range(256)]
    assert ALAW[0xD5] * 32768 == 8
    assert ALAW[0xAA] * 32768 == 32256


@pytest.mark.parametrize(("subtype", "table"), [("ULAW", ULAW), ("ALAW", ALAW)])
def test_tables_agree_with_libsndfile(subtype: str, table: np.ndarray):
    codes = io.BytesIO(bytes(range(256)))
    samples, _ = soundfile.read(codes, format="RAW", subtype=subtype, samplerate=8000, channels=1, dtype="float32")
    assert np.array_equal(samples, table)
