"""Samples to log mel frames, chunk by chunk, equal to the feature extractor run over the whole segment.

A chunk's mel frames include those the subsampling needs from before the chunk: they are computed again from a tail of
samples that the stream keeps. Always float32, whatever the model runs in. Knows nothing of slots and of what the mel
frames are for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stream_server.engine.fastconformer.configuration import EncoderConfig, FastConformerConfig, FeatureConfig
from stream_server.engine.fastconformer.geometry import Geometry

LOG_GUARD = 2.0**-24
"""Added to the energies before the logarithm, as in the training of these models."""


class Spectrum(NamedTuple):
    """The mel frames of a chunk for each row, and what masks the stages after them.

    Attributes:
        mel: [B, M, bins] float32 with M = factor * C + overlap + 1 - factor; zero where the segment has no such frame.
        start: [B] int64, position in the segment of the first of them; negative at the begin of a segment.
        length: [B] int64, mel frames of the segment as far as they are known: at its end, all of them.
        tail: [B, tail_samples] float32, the samples to keep for the next chunk.
    """

    mel: Tensor
    start: Tensor
    length: Tensor
    tail: Tensor


class Features(nn.Module):
    """The log mel front end of one model. Holds constants only: made on the device it runs on, and never cast."""

    window: Tensor
    filters: Tensor

    def __init__(self, feature: FeatureConfig, encoder: EncoderConfig, device: torch.device | None = None) -> None:
        super().__init__()
        self.geometry = Geometry.of(feature, encoder)
        self.preemphasis = feature.preemphasis
        self.n_fft = feature.n_fft
        rounded: torch.dtype = getattr(torch, feature.mel_dtype)
        window = torch.hann_window(feature.win_length, periodic=False)
        filters = torch.from_numpy(mel_filters(feature))
        self.register_buffer("window", window.to(device, rounded).float(), persistent=False)
        self.register_buffer("filters", filters.to(device, rounded).float(), persistent=False)

    @property
    def tail_samples(self) -> int:
        """Samples that a stream keeps of the audio before the next chunk."""
        return self.geometry.tail_samples

    @property
    def lead_samples(self) -> int:
        """Zeros that the first chunk of a segment begins with: so many samples fewer does it need."""
        return self.geometry.lead_samples

    def chunk_samples(self, frames: int) -> int:
        """Samples of a chunk of that many frames, the lead of a first chunk included."""
        return self.geometry.chunk_samples(frames)

    def forward(self, audio: Tensor, tail: Tensor, position: Tensor, samples: Tensor, last: Tensor) -> Spectrum:
        """Mel frames of one chunk for each row.

        Args:
            audio: [B, chunk_samples(C)] float32 in [-1, 1]; the first chunk of a segment begins with ``lead_samples``
                zeros, the last one of a segment is filled up with zeros.
            tail: [B, tail_samples] float32, the samples before; zeros at the begin of a segment.
            position: [B] int64, frames that the segment has yielded before.
            samples: [B] int64, valid samples of ``audio`` counted from its begin, the lead included.
            last: [B] bool, whether the segment ends after them.
        """
        geometry = self.geometry
        frames = audio.shape[1] // geometry.frame_samples
        begin = position * geometry.frame_samples - geometry.lead_samples  # of the chunk, in samples of the segment
        heard = torch.cat((tail, audio), dim=1)
        flat = heard[:, 1:] - self.preemphasis * heard[:, :-1]
        # The first zero after the end would become an echo of the last sample.
        place = torch.arange(1 - geometry.tail_samples, audio.shape[1], device=audio.device)
        flat *= place < samples[:, None]
        # The extractor centres the window in the transform; where it lies in it changes the phase only.
        windows = flat.unfold(1, self.window.shape[0], geometry.hop) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(windows, n=self.n_fft))
        power = spectrum.square().sum(dim=-1)
        mel = torch.log(power @ self.filters + LOG_GUARD)
        start = position * geometry.factor - geometry.overlap
        # Until the end is known every frame counts.
        length = torch.where(last, (begin + samples) // geometry.hop, start + geometry.chunk_mels(frames) + 1)
        index = start[:, None] + torch.arange(mel.shape[1], device=mel.device)
        mel *= ((index >= 0) & (index < length[:, None]))[:, :, None]
        return Spectrum(mel, start, length, heard[:, -geometry.tail_samples :])


def count_frames(samples_total: int, config: FastConformerConfig) -> int:
    """How many encoder frames a whole segment of that many samples yields."""
    return Geometry.of(config.feature, config.encoder).count_frames(samples_total)


def mel_filters(feature: FeatureConfig) -> npt.NDArray[np.float32]:
    """Triangular filters of equal area on Slaney's mel scale, [n_fft / 2 + 1, bins].

    The scale is linear below 1 kHz, 3 mel for 200 Hz, and logarithmic above, 27 mel for a factor of 6.4
    (Slaney 1998, Auditory Toolbox).
    """
    knee, step = 1000.0, np.log(6.4) / 27.0
    top = 3.0 * knee / 200.0 + np.log(feature.sample_rate / 2 / knee) / step
    mels = np.linspace(0.0, top, feature.mel_bins + 2)
    linear = mels * 200.0 / 3.0
    edges = np.where(linear < knee, linear, knee * np.exp(step * (mels - 3.0 * knee / 200.0)))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.linspace(0.0, feature.sample_rate / 2, feature.n_fft // 2 + 1)[:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0.0)
    filters: npt.NDArray[np.float32] = (triangles * (2.0 / (high - low))).astype(np.float32)
    return filters
