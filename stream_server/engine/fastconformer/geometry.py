"""Where chunks, mel frames and encoder frames lie on the samples of a segment.

The k-th chunk of C frames yields the frames kC .. kC + C - 1, each of which needs mel frames up to its own first one,
and mel frame t the samples around ``t * hop``. Everything a step has to know about lengths follows from that. Plain
integers: knows no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream_server.engine.fastconformer.configuration import EncoderConfig, FeatureConfig


@dataclass(frozen=True, slots=True)
class Geometry:
    """The lengths of one model.

    Attributes:
        hop: samples between mel frames.
        factor: mel frames between encoder frames.
        kernel, stride, stages: of the subsampling convolutions, which are causal.
        before, after: samples a mel frame needs before its own position, and from it on.
    """

    hop: int
    factor: int
    kernel: int
    stride: int
    stages: int
    before: int
    after: int

    @classmethod
    def of(cls, feature: FeatureConfig, encoder: EncoderConfig) -> Geometry:
        """Derive the geometry from a configuration."""
        stages, factor = 0, 1
        while factor < encoder.subsampling_factor:
            factor *= encoder.subsampling_stride
            stages += 1
        assert factor == encoder.subsampling_factor
        # A window shorter than the transform is centred in it.
        before = feature.n_fft // 2 - (feature.n_fft - feature.win_length) // 2
        return cls(
            hop=feature.hop_length,
            factor=factor,
            kernel=encoder.subsampling_kernel,
            stride=encoder.subsampling_stride,
            stages=stages,
            before=before,
            after=feature.win_length - before,
        )

    @property
    def frame_samples(self) -> int:
        """Samples between encoder frames."""
        return self.hop * self.factor

    @property
    def lead_samples(self) -> int:
        """How much earlier than its last frame's end a chunk is ready: the frame needs only its first mel frame."""
        return self.frame_samples - self.after

    @property
    def overlap(self) -> int:
        """Mel frames a frame needs before its own first one."""
        return (self.kernel - 1) * (self.factor - 1) // (self.stride - 1)

    @property
    def tail_samples(self) -> int:
        """Samples a chunk needs before its own: for the overlap, the first window, and one for the pre-emphasis."""
        return self.overlap * self.hop + self.before - self.lead_samples + 1

    def chunk_samples(self, frames: int) -> int:
        """Samples of a chunk of that many frames."""
        return self.frame_samples * frames

    def chunk_mels(self, frames: int) -> int:
        """Mel frames that a chunk of that many frames is made of, the overlap included."""
        return self.factor * (frames - 1) + self.overlap + 1

    def count_mels(self, samples: int) -> int:
        """Mel frames of a whole segment."""
        return samples // self.hop

    def count_frames(self, samples: int) -> int:
        """Encoder frames of a whole segment. A segment too short for a mel frame has none."""
        count = self.count_mels(samples)
        if count == 0:
            return 0
        for _ in range(self.stages):
            # A stage pads by kernel - 1 before and stride - 1 behind.
            count = (count + self.stride - 2) // self.stride + 1
        return count
