"""Raw samples in, float32 out: a stream of bytes of one fixed sample type. It does not know about rates or headers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.g711 import ALAW, ULAW


@dataclass(frozen=True, slots=True)
class SampleType:
    """How one sample lies in memory: its size in bytes, and how flat bytes become flat floats in [-1, 1]."""

    size: int
    convert: Callable[[bytes], NDArray[Any]]


def _int24(data: bytes) -> NDArray[np.float32]:
    # Each sample becomes the upper three bytes of a 32-bit one, so that the sign comes out right.
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def _integer(dtype: str, scale: int) -> Callable[[bytes], NDArray[np.float32]]:
    return lambda data: np.frombuffer(data, dtype).astype(np.float32) / np.float32(scale)


# The first four can be asked for by name; the others come only with a WAV header.
SAMPLE_TYPES: Final[dict[str, SampleType]] = {
    "float32": SampleType(4, lambda data: np.frombuffer(data, "<f4")),
    "int16": SampleType(2, _integer("<i2", 2**15)),
    "ulaw": SampleType(1, lambda data: ULAW[np.frombuffer(data, np.uint8)]),
    "alaw": SampleType(1, lambda data: ALAW[np.frombuffer(data, np.uint8)]),
    "uint8": SampleType(1, lambda data: (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)),
    "int24": SampleType(3, _int24),
    "int32": SampleType(4, _integer("<i4", 2**31)),
    "float64": SampleType(8, lambda data: np.frombuffer(data, "<f8")),
}


class Sanitizer:
    """Keeps one bad sample from reaching a filter, where it would live on for ever; counts what it changed."""

    def __init__(self) -> None:
        self.invalid_samples = 0
        self.clipped_samples = 0

    def apply(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Any floats, any shape; back come float32 in [-1, 1]: NaN is 0, the rest (infinity too) is clipped."""
        if samples.size == 0 or float(np.abs(samples).max()) <= 1.0:  # the comparison is false where there is a NaN
            return samples.astype(np.float32)
        invalid = np.isnan(samples)
        clean = np.where(invalid, 0, samples)
        self.invalid_samples += int(np.count_nonzero(invalid))
        self.clipped_samples += int(np.count_nonzero(np.abs(clean) > 1))
        return np.clip(clean, -1, 1).astype(np.float32)


class SampleDecoder:
    """Decodes one stream of interleaved samples; a chunk may end in the middle of a sample.

    Args:
        dtype: a key of `SAMPLE_TYPES`.
        channels: samples per frame.
    """

    def __init__(self, dtype: str, channels: int) -> None:
        self._type = SAMPLE_TYPES[dtype]
        self._channels = channels
        self._frame_size = self._type.size * channels
        self._rest = b""
        self._sanitizer = Sanitizer()

    @property
    def invalid_samples(self) -> int:
        return self._sanitizer.invalid_samples

    @property
    def clipped_samples(self) -> int:
        return self._sanitizer.clipped_samples

    @property
    def pending_bytes(self) -> int:
        """Bytes of the last, unfinished frame; never decoded unless its remaining bytes come."""
        return len(self._rest)

    def drop_pending(self) -> None:
        """Forget the unfinished frame: whoever sent it will send it again, whole."""
        self._rest = b""

    def receive(self, data: bytes) -> NDArray[np.float32]:
        """Take the next bytes; give the whole frames among them as `[n, channels]`."""
        if self._rest:
            data = self._rest + data
        end = len(data) - len(data) % self._frame_size
        self._rest = data[end:]
        return self._sanitizer.apply(self._type.convert(data[:end])).reshape(-1, self._channels)
