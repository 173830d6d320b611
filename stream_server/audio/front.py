"""A session's audio front end: a caller's bytes in, 16 kHz float32 out. It does not know about sessions or time.

bytes -> WavStream (is there a header?) -> SampleDecoder or ContainerDecoder -> Resampler -> [channels, n]
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.container import ContainerDecoder
from stream_server.audio.decode import SAMPLE_TYPES, SampleDecoder
from stream_server.audio.error import UnsupportedAudio, require_layout
from stream_server.audio.resample import Resampler
from stream_server.audio.wav import WavStream

# Bytes decoded and resampled at a time: of a large chunk, only this much exists at the source's rate.
_SLICE_BYTES: Final = 64 * 1024


class AudioFront:
    """Bytes in, `[channels, n]` float32 at 16 kHz in [-1, 1] out; one per session.

    Args:
        dtype: `float32`, `int16`, `ulaw`, `alaw` or `container`.
        sample_rate: hertz, 8000 to 192000. A container's own rate wins.
        channels: 1 to 8, interleaved. A container with another number of channels is mixed to one.

    The attributes of the same names say what is in force: a WAV header wins over all three, also over `container`, and
    adds the dtypes `uint8`, `int24`, `int32` and `float64`. They are final once the first samples came out.

    Attributes:
        received_samples: source samples per channel decoded so far, at `sample_rate`.

    Raises:
        UnsupportedAudio: from any call but `close`; afterwards only `close` makes sense.
    """

    def __init__(self, *, dtype: str, sample_rate: int, channels: int) -> None:
        if dtype not in SAMPLE_TYPES and dtype != "container":
            raise UnsupportedAudio(f"dtype {dtype!r} is unknown; allowed: float32, int16, ulaw, alaw, container")
        require_layout("the session", sample_rate, channels)
        self.dtype = dtype
        self.sample_rate = sample_rate
        self.channels = channels
        self.received_samples = 0
        self._wav = WavStream()
        self._decoder: SampleDecoder | ContainerDecoder | None = None
        self._resampler: Resampler | None = None
        self._finished = False

    @property
    def invalid_samples(self) -> int:
        """Samples that were not a number, and are 0 now."""
        return self._decoder.invalid_samples if self._decoder else 0

    @property
    def clipped_samples(self) -> int:
        """Samples beyond full scale, and clipped now."""
        return self._decoder.clipped_samples if self._decoder else 0

    @property
    def invalid_packets(self) -> int:
        """Packets of a container that were damaged, and left out."""
        return self._decoder.invalid_packets if isinstance(self._decoder, ContainerDecoder) else 0

    @property
    def pending_bytes(self) -> int:
        """Bytes of a sample whose other bytes have not come; after `finish`, the bytes that were dropped."""
        return self._decoder.pending_bytes if self._decoder else 0

    def drop_pending(self) -> None:
        """Forget the bytes of a sample that has not come whole."""
        if isinstance(self._decoder, SampleDecoder):
            self._decoder.drop_pending()

    def receive(self, data: bytes) -> NDArray[np.float32]:
        """Take a chunk of any length; give what is ready, `[channels, n]`, where n may be 0."""
        assert not self._finished, "receive after finish or close"
        return self._convert(self._wav.receive(data))

    def finish(self) -> NDArray[np.float32]:
        """Flush decoder and resampler: the last samples, `[channels, n]`. Only `close` may follow."""
        assert not self._finished, "finish twice, or after close"
        self._finished = True
        pieces = [self._convert(self._wav.finish())]
        if isinstance(decoder := self._decode_with(), ContainerDecoder):
            pieces.append(self._resample(decoder.finish()))
        if self._resampler is not None:
            pieces.append(self._resampler.finish())
        return self._join(pieces)

    def close(self) -> None:
        """Free the decoder's thread, if there is one. May be called at any time, and twice."""
        self._finished = True
        if isinstance(self._decoder, ContainerDecoder):
            self._decoder.close()

    def _convert(self, audio: bytes) -> NDArray[np.float32]:
        slices = (audio[start : start + _SLICE_BYTES] for start in range(0, len(audio), _SLICE_BYTES))
        return self._join([self._resample(self._decode_with().receive(piece)) for piece in slices])

    def _decode_with(self) -> SampleDecoder | ContainerDecoder:
        """The decoder, made when the first audio byte is here: only now is it known whether a header came before."""
        if self._decoder is None:
            if header := self._wav.header:
                self.dtype, self.sample_rate, self.channels = header.dtype, header.sample_rate, header.channels
            if self.dtype == "container":
                self._decoder = ContainerDecoder(self.channels)
            else:
                self._decoder = SampleDecoder(self.dtype, self.channels)
        return self._decoder

    def _resample(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(samples) and self._resampler is None:
            if isinstance(self._decoder, ContainerDecoder):
                self.sample_rate, self.channels = self._decoder.sample_rate, self._decoder.channels
            self._resampler = Resampler(self.sample_rate, self.channels)
        self.received_samples += len(samples)
        return self._resampler.receive(samples) if self._resampler else np.zeros((self.channels, 0), np.float32)

    def _join(self, pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        ready = [piece for piece in pieces if piece.shape[1]]
        if len(ready) == 1:
            return ready[0]
        return np.concatenate(ready, axis=1) if ready else np.zeros((self.channels, 0), np.float32)
