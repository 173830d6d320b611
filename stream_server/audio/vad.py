"""Voice activity detection: how likely each frame of each stream is speech. The WebRTC backend, and the choice of one.

A *model* is shared by all sessions and holds no stream; what it remembers of a stream is a state that the caller keeps.
It knows nothing of segments (see `segmenter`), sessions, or where the audio came from.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import webrtcvad
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
BACKENDS = ("webrtc", "silero")


class VadUnavailableError(Exception):
    """The VAD asked for is unknown or not installed; the message says what is possible and how to install it."""


@dataclass(frozen=True)
class VadSettings:
    """Settings of the WebRTC backend; Silero has none. The defaults were chosen by measurement, see
    docs/decisions/002-voice-activity-detection.md.
    """

    webrtc_mode: int = 2
    """0 (takes most for speech) to 3 (least)."""
    noise_margin_db: float = 4.0
    """A frame is speech only where the sound is this much louder than the noise floor; 0 turns the gate off."""
    loudness_frames: int = 12
    """How many frames of 20 ms the loudness is averaged over."""
    noise_frames: int = 250
    """The noise floor is the least loudness in this many frames of 20 ms."""
    first_noise_dbfs: float = -55.0
    """The noise floor assumed until the first `noise_frames` have been heard, unless it is quieter still."""

    def __post_init__(self) -> None:
        assert 0 <= self.webrtc_mode <= 3
        assert self.noise_margin_db >= 0
        assert self.loudness_frames >= 1
        assert self.noise_frames >= 1


class VadState:
    """What a model remembers of one stream. Opaque: made by `VadModel.new_state`, changed by `VadModel.detect`."""


class VadModel(Protocol):
    """A speech detector shared by all sessions.

    name: of the backend. frame_samples: length of a frame at 16 kHz. inline: cheap enough to run in the caller's
    thread; otherwise the engine runs it, batched across sessions.
    """

    @property
    def name(self) -> str: ...
    @property
    def frame_samples(self) -> int: ...
    @property
    def inline(self) -> bool: ...

    def new_state(self) -> VadState: ...

    def detect(self, states: Sequence[VadState], frames: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Judge the next frames of several streams.

        states: one per stream, each at most once; they are advanced. frames: for stream i the whole frames that
        follow, [k_i * frame_samples] float32 in -1..1; k_i may be 0. Returns the speech probabilities of each stream,
        [k_i] float32, which do not depend on what else is in the batch.
        """
        ...


class NoiseGate:
    """Follows the noise floor of one stream and says which frames stand out of it.

    The loudness of a frame is the power of the last `loudness_frames`; the floor is the least loudness of the last
    `noise_frames` (minimum statistics, R. Martin, 2001, in its simplest form). Powers are integers, so that the result
    is exact however the frames are grouped.
    """

    def __init__(self, settings: VadSettings) -> None:
        first_power = int(10 ** (settings.first_noise_dbfs / 10) * 2**30) * WebRtcVad.frame_samples
        self._margin = 10 ** (settings.noise_margin_db / 10)
        self._noise_frames = settings.noise_frames
        self._powers = deque([0] * settings.loudness_frames)
        self._loudness = 0  # their sum
        self._frame = 0
        # (frame, loudness), both rising: the first is the floor now, the others become it when those before expire.
        self._floors = deque([(0, first_power * settings.loudness_frames)])

    def stands_out(self, power: int) -> bool:
        """Take the next frame, the sum of its squared samples; say whether the sound up to it stands out."""
        self._frame += 1
        self._powers.append(power)
        self._loudness += power - self._powers.popleft()
        while self._floors and self._floors[-1][1] >= self._loudness:
            self._floors.pop()
        self._floors.append((self._frame, self._loudness))
        if self._floors[0][0] <= self._frame - self._noise_frames:
            self._floors.popleft()
        return self._loudness >= self._floors[0][1] * self._margin


class WebRtcState(VadState):
    """What is particular to one stream: a detector, which adapts, and a gate."""

    def __init__(self, settings: VadSettings) -> None:
        self.detector = webrtcvad.Vad(settings.webrtc_mode)
        self.gate = NoiseGate(settings)


class WebRtcVad:
    """The detector of the WebRTC project behind a noise gate: 1 or 0 per 20 ms frame.

    The detector, a Gaussian mixture over six sub-bands, takes steady noise and much music for speech; the gate holds
    its votes back unless the sound is louder than the noise floor by a margin. That costs little speech, since speech
    has a gap every few seconds; a speaker who never pauses raises the floor only to his own softest quarter second.
    """

    name = "webrtc"
    frame_samples = 320
    inline = True

    def __init__(self, settings: VadSettings) -> None:
        self._settings = settings

    def new_state(self) -> VadState:
        """A stream that has heard nothing yet."""
        return WebRtcState(self._settings)

    def detect(self, states: Sequence[VadState], frames: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """See `VadModel.detect`."""
        return [self._detect(state, samples) for state, samples in zip(states, frames, strict=True)]

    def _detect(self, state: VadState, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        assert isinstance(state, WebRtcState)
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").reshape(-1, self.frame_samples)
        powers = np.square(pcm, dtype=np.int64).sum(axis=1).tolist()
        loud = [state.gate.stands_out(power) for power in powers]
        votes = [state.detector.is_speech(frame.tobytes(), SAMPLE_RATE) for frame in pcm]
        return np.logical_and(votes, loud).astype(np.float32)


def load_vad(name: str, settings: VadSettings) -> VadModel:
    """Load a backend by name.

    Raises VadUnavailableError when there is none of that name, or it is not installed.
    """
    if name == "webrtc":
        return WebRtcVad(settings)
    if name == "silero":
        from stream_server.audio.silero import SileroVad  # here, so that the base server never loads it

        return SileroVad()
    raise VadUnavailableError(f"unknown voice activity detector {name!r}: choose one of {', '.join(BACKENDS)}")
