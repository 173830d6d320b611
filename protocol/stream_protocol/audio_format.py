"""How a caller's audio is laid out, and the names callers use for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stream_protocol.errors import ClientError, ErrorCode

MIN_SAMPLE_RATE: Final = 8_000
MAX_SAMPLE_RATE: Final = 192_000
MAX_CHANNELS: Final = 8

# Every accepted name, and the canonical one it stands for.
DTYPES: Final[dict[str, str]] = {
    "float32": "float32",
    "pcm_f32le": "float32",
    "int16": "int16",
    "pcm_s16le": "int16",
    "linear16": "int16",
    "ulaw": "ulaw",
    "mulaw": "ulaw",
    "pcm_mulaw": "ulaw",
    "alaw": "alaw",
    "pcm_alaw": "alaw",
    "container": "container",
}

# Bytes per sample of one channel; a container has no fixed size.
SAMPLE_BYTES: Final[dict[str, int]] = {"float32": 4, "int16": 2, "ulaw": 1, "alaw": 1}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Sample type (canonical name), rate in hertz, and interleaved channels of the audio a caller sends."""

    dtype: str = "float32"
    sample_rate: int = 16_000
    channels: int = 1

    @classmethod
    def parse(cls, dtype: str, sample_rate: int, channels: int) -> AudioFormat:
        """Resolve aliases and check ranges.

        A wrong rate or channel count would turn speech into noise, so these are refused rather than clamped.

        Raises:
            ClientError: ``UNSUPPORTED_AUDIO``, with what is allowed.
        """
        canonical = DTYPES.get(dtype.strip().lower())
        if canonical is None:
            raise ClientError(
                ErrorCode.UNSUPPORTED_AUDIO, f"dtype {dtype[:40]!r} is unknown; allowed: {', '.join(DTYPES)}"
            )
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise ClientError(
                ErrorCode.UNSUPPORTED_AUDIO,
                f"sample_rate {sample_rate} is out of range; allowed: {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz",
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise ClientError(
                ErrorCode.UNSUPPORTED_AUDIO, f"channels {channels} is out of range; allowed: 1 to {MAX_CHANNELS}"
            )
        return cls(canonical, sample_rate, channels)
