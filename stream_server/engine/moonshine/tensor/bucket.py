"""The few shapes that batches are padded to, so that each can be prepared beforehand. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stream_server.engine.moonshine.architecture import count_frames
from stream_server.engine.moonshine.request import SAMPLE_RATE, token_cap


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """How the model runs on a device.

    ``max_batch``, ``max_step_samples``: most tasks and most audio in one step. ``clips``: numbers of clips that run
    together in the decoder; ``encoded``: in the encoder. ``seconds``: lengths of clips. ``widths``: tokens
    that are read at once. ``steps``: tokens chosen on the device before the host looks at them.
    """

    max_batch: int = 128
    max_step_samples: int = 1_280 * SAMPLE_RATE
    clips: tuple[int, ...] = (16, 64, 128)
    encoded: tuple[int, ...] = (8, 32)
    seconds: tuple[float, ...] = (2, 4, 8, 16, 32)
    widths: tuple[int, ...] = (16, 64)
    steps: int = 4

    def unpadded(self) -> DeviceSettings:
        """The same limits, but every shape as it comes: for a device where nothing is prepared."""
        every = [tuple(range(1, sizes[-1] + 1)) for sizes in (self.clips, self.encoded, self.widths)]
        return replace(self, clips=every[0], encoded=every[1], widths=every[2], seconds=())


@dataclass(frozen=True, slots=True)
class Shape:
    """Room for a decoder's batch: encoder frames of a clip, and tokens that are read. What is not used is masked."""

    frames: int
    tokens: int


def smallest(sizes: Sequence[int], need: int) -> int:
    """The smallest size that is enough; ``need`` itself where none is."""
    return min((size for size in sizes if size >= need), default=need)


def room_of(samples: int, settings: DeviceSettings) -> Shape:
    """What clips of so many samples need, unless a prefix is longer than they may be: room for the start, the tokens,
    and those that are read before the host notices the end."""
    return Shape(_aligned(count_frames(samples)), _aligned(token_cap(samples) + 1 + settings.steps))


def _aligned(count: int) -> int:
    """A multiple of 8 or more: rows of a matrix of 16-bit numbers then begin where a device reads them at once."""
    return -(-count // 8) * 8


def widths_of(tokens: int, settings: DeviceSettings) -> tuple[int, ...]:
    """How many tokens may be read at once where there is room for so many."""
    return (*(width for width in settings.widths if width < tokens), tokens)


def lengths(settings: DeviceSettings) -> tuple[int, ...]:
    """``settings.seconds`` in samples."""
    return tuple(round(seconds * SAMPLE_RATE) for seconds in settings.seconds)
