"""Any rate in, 16 kHz out, as a stream. It does not know where samples come from.

Quality: soxr's HQ. It costs the same as its cheaper settings (0.1 to 0.4 ms of CPU per second of audio; about 2 us per
call) and what it holds back is a matter of its block size: on average 21 ms at 48 kHz and 64 ms at 8 kHz.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000


class Resampler:
    """One stream of `channels` channels from `sample_rate` hertz to 16 kHz.

    Output sample k is the input at the time k / 16000: the filter's delay is taken out. For n input samples the whole
    output has round(n * 16000 / sample_rate) samples, and the way the input is cut changes none of them. At 16 kHz
    samples pass untouched.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = None
        if sample_rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, channels, dtype="float32", quality="HQ")

    def receive(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples `[n, channels]` in [-1, 1]; gives what is ready as `[channels, m]`, also in [-1, 1]."""
        return self._process(samples, last=False)

    def finish(self) -> NDArray[np.float32]:
        """The rest of the output, `[channels, m]`. Nothing may follow."""
        return self._process(np.zeros((0, self._channels), np.float32), last=True)

    def _process(self, samples: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        if self._stream is not None and (last or len(samples)):
            # The filter rings beyond full scale where the input was clipped; whoever makes int16 of it would wrap.
            samples = self._stream.resample_chunk(np.ascontiguousarray(samples), last=last).clip(-1, 1)
        return np.ascontiguousarray(samples.T)
