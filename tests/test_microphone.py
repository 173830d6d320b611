"""The microphone on a PortAudio of a few lines, as the machines that run tests have none."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import pytest

from stream_server.microphone import Device, Microphone, MicrophoneError, list_devices

DEVICES = [
    {"name": "HDMI", "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Built-in", "max_input_channels": 2, "default_samplerate": 48000.0},
    {"name": "Headset", "max_input_channels": 1, "default_samplerate": 44100.0},
]


class FakeStream:
    """Calls back from a thread of its own, as PortAudio does, with frames that count up."""

    def __init__(self, callback: Any, blocksize: int, **options: Any) -> None:
        self.options = {"blocksize": blocksize, **options}
        self.active = True
        self._callback, self._size = callback, 2 * blocksize
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for number in range(5):
            self._callback(bytes([number]) * self._size, self._size // 2, None, None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join()
        self.active = False


class FakePortAudio:
    class PortAudioError(Exception):
        pass

    class default:
        device = (1, 0)

    def __init__(self, refuses_16k: bool = False) -> None:
        self._refuses_16k = refuses_16k
        self.streams: list[FakeStream] = []

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return DEVICES
        for index, found in enumerate(DEVICES):
            if device in (index, found["name"]) or (device is None and index == self.default.device[0]):
                return found
        raise ValueError(f"No input device matching {device!r}")

    def check_input_settings(self, device: Any, **settings: Any) -> None:
        if self._refuses_16k:
            raise self.PortAudioError("Invalid sample rate")

    def RawInputStream(self, **options: Any) -> FakeStream:
        self.streams.append(FakeStream(**options))
        return self.streams[-1]


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    fake = FakePortAudio()
    monkeypatch.setattr("stream_server.microphone._portaudio", lambda: fake)
    return fake


async def test_frames_come_in_order_and_the_device_is_let_go(portaudio: FakePortAudio) -> None:
    microphone = Microphone()
    frames = microphone.frames()
    heard = [await anext(frames) for _ in range(5)]
    await frames.aclose()
    assert heard == [bytes([number]) * 3200 for number in range(5)]
    assert (microphone.name, microphone.sample_rate) == ("Built-in", 16_000)
    assert not portaudio.streams[0].active
    assert portaudio.streams[0].options["blocksize"] == 1600


def test_a_device_without_16_khz_records_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_server.microphone._portaudio", lambda: FakePortAudio(refuses_16k=True))
    assert Microphone("Headset").sample_rate == 44_100


def test_a_device_that_is_not_there(portaudio: FakePortAudio) -> None:
    with pytest.raises(MicrophoneError, match=r"no such microphone \(`stream-server listen --list-devices` shows them"):
        Microphone("Webcam")


def test_only_inputs_are_listed(portaudio: FakePortAudio) -> None:
    assert list_devices() == [
        Device(1, "Built-in", 2, 48_000, is_default=True),
        Device(2, "Headset", 1, 44_100, is_default=False),
    ]
