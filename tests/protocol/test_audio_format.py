from __future__ import annotations

import pytest

from stream_protocol import AudioFormat, ClientError, ErrorCode
from stream_protocol.audio_format import DTYPES, SAMPLE_BYTES


def test_every_name_stands_for_a_canonical_one() -> None:
    for name, canonical in DTYPES.items():
        assert AudioFormat.parse(f" {name.upper()} ", 8000, 8) == AudioFormat(canonical, 8000, 8)
        assert DTYPES[canonical] == canonical
    assert set(DTYPES.values()) == {*SAMPLE_BYTES, "container"}


@pytest.mark.parametrize(
    ("dtype", "sample_rate", "channels", "said"),
    [
        ("int24", 16000, 1, "int16"),
        ("x" * 10_000, 16000, 1, "unknown"),
        ("int16", 7999, 1, "8000 to 192000"),
        ("int16", 192_001, 1, "8000 to 192000"),
        ("int16", -(2**63), 1, "8000 to 192000"),
        ("int16", 16000, 0, "1 to 8"),
        ("int16", 16000, 9, "1 to 8"),
    ],
)
def test_what_is_out_of_range_is_refused(dtype: str, sample_rate: int, channels: int, said: str) -> None:
    with pytest.raises(ClientError) as caught:
        AudioFormat.parse(dtype, sample_rate, channels)
    assert caught.value.code is ErrorCode.UNSUPPORTED_AUDIO
    assert said in caught.value.message
    assert len(caught.value.message) < 300


def test_the_limits_are_in_range() -> None:
    assert AudioFormat.parse("float32", 192_000, 1).sample_rate == 192_000
