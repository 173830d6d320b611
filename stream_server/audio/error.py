"""The errors a caller's audio can cause. They do not know who reports them, or how."""

from __future__ import annotations

from stream_protocol.audio_format import MAX_CHANNELS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from stream_protocol.errors import ClientError, ErrorCode


class UnsupportedAudio(ClientError):  # noqa: N818 - named after its code, as the protocol spells it
    """The audio cannot be used; ``message`` says what was wrong and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.UNSUPPORTED_AUDIO, message)


class AudioTooLong(Exception):  # noqa: N818 - as the other one is named
    """A file is longer than ``longest_sec``; ``duration_sec`` is what is known of its length."""

    def __init__(self, duration_sec: float, longest_sec: float) -> None:
        super().__init__(f"the audio is longer than {longest_sec / 60:.4g} minutes, the most that is taken")
        self.duration_sec = duration_sec
        self.longest_sec = longest_sec


def require_layout(source: str, sample_rate: int, channels: int) -> None:
    """Check what `source` (for instance "the WAV header") declares: a rate in hertz and a channel count.

    Raises:
        UnsupportedAudio: outside of what the server resamples and splits.
    """
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise UnsupportedAudio(
            f"{source} declares {sample_rate} Hz; allowed: {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnsupportedAudio(f"{source} declares {channels} channels; allowed: 1 to {MAX_CHANNELS}")
