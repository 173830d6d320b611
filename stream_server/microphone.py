"""The microphone as a stream of PCM. It does not know where the audio goes.

PortAudio (through ``sounddevice``) is asked for only when it is needed: a server has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

FRAME_MS: Final = 100
_SAMPLE_RATE: Final = 16_000
_MAX_WAITING: Final = 600  # frames: a minute of a server that does not answer


class MicrophoneError(Exception):
    """There is no way to record; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """One input. ``index`` or a part of ``name`` chooses it."""

    index: int
    name: str
    channels: int
    sample_rate: int
    is_default: bool


def list_devices() -> list[Device]:
    """All inputs.

    Raises:
        MicrophoneError: PortAudio is missing.
    """
    audio = _portaudio()
    default = audio.default.device[0]
    return [
        Device(index, found["name"], found["max_input_channels"], int(found["default_samplerate"]), index == default)
        for index, found in enumerate(audio.query_devices())
        if found["max_input_channels"] > 0
    ]


class Microphone:
    """Records int16 mono in frames of ``FRAME_MS``.

    Args:
        device: an index, a part of a name, or None for the default.

    Raises:
        MicrophoneError: PortAudio is missing, or there is no such input.
    """

    def __init__(self, device: int | str | None = None) -> None:
        self._audio = _portaudio()
        self._device = device
        try:
            found = self._audio.query_devices(device, "input")
        except (ValueError, self._audio.PortAudioError) as error:
            hint = "`stream-server listen --list-devices` shows them" if list_devices() else "none is connected"
            raise MicrophoneError(f"no such microphone ({hint}): {error}") from None
        self.name: str = found["name"]
        self.sample_rate = _SAMPLE_RATE
        try:
            self._audio.check_input_settings(device, channels=1, dtype="int16", samplerate=_SAMPLE_RATE)
        except self._audio.PortAudioError:  # the server resamples
            self.sample_rate = int(found["default_samplerate"])

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Record until the caller stops asking. A caller who lags by a minute loses the oldest audio.

        Raises:
            MicrophoneError: another program holds the device, or it was unplugged.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[bytes] = asyncio.Queue(_MAX_WAITING)

        def store(frame: bytes) -> None:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(frame)

        def heard(data: Any, count: int, time: Any, status: Any) -> None:  # in PortAudio's thread
            loop.call_soon_threadsafe(store, bytes(data))

        try:
            stream = self._audio.RawInputStream(
                samplerate=self.sample_rate,
                blocksize=self.sample_rate * FRAME_MS // 1000,
                device=self._device,
                channels=1,
                dtype="int16",
                callback=heard,
            )
            with stream:
                while stream.active:
                    yield await waiting.get()
        except self._audio.PortAudioError as error:
            raise MicrophoneError(f"cannot record from {self.name!r}: {error}") from None


def _portaudio() -> Any:
    try:
        import sounddevice
    except OSError:
        raise MicrophoneError(
            "PortAudio is missing; install it (Debian and Ubuntu: apt install libportaudio2), "
            "or play a recording with --file"
        ) from None
    return sounddevice
