"""The embedded model in torch behind the engine's interface: put together here, made elsewhere."""

from __future__ import annotations

from dataclasses import replace

from stream_server.engine.fault import device_faults
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings
from stream_server.engine.moonshine.tensor.model import TensorModel


def load_moonshine_torch(assets: Assets, settings: MoonshineSettings, device: str) -> MoonshineRecognizer:
    """The embedded English model in torch on ``device``, such as ``cuda:0`` or ``cpu``.

    Raises:
        WeightError: other files than those of the pinned wheel.
        RuntimeError: torch cannot use the device.
    """
    limits = settings.device if device.startswith("cuda") else settings.device.unpadded()
    settings = replace(settings, max_batch=limits.max_batch, max_step_samples=limits.max_step_samples)
    with device_faults():
        return MoonshineRecognizer(assets, settings, TensorModel(assets, limits, device))
