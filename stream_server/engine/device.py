"""Which device a model runs on, and whether what is installed can use it. Importable without the gpu extra."""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from dataclasses import dataclass
from importlib.metadata import version

logger = logging.getLogger(__name__)

INSTALL = "pip install 'stream-server[gpu]'"


class DeviceError(Exception):
    """The device asked for cannot be used; the message says why and what to do."""


def require_gpu_extra(*modules: str) -> None:
    """Check that these top-level modules are installed, without importing them.

    Raises:
        DeviceError: some are not; they belong to the gpu extra.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise DeviceError(f"this needs the gpu extra ({', '.join(missing)} not installed): {INSTALL}")


def resolve_device(name: str) -> str:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:n`` into ``cpu`` or ``cuda:n``.

    ``auto`` is the first card that torch can use, else the CPU.

    Raises:
        DeviceError: the name is none of these, or that card cannot be used on this machine.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"unknown device {name!r}: auto, cpu, cuda or cuda:n")
    if name == "cpu":
        return name
    if name == "auto":
        return _first_card()
    require_gpu_extra("torch")
    cards = _Cards.find()
    if cards.count == 0:
        raise DeviceError(f"no device {name}: {cards.lack}")
    index = int(match[1] or 0)
    if index >= cards.count:
        raise DeviceError(f"no device {name}: this machine has {cards.count}, the last is cuda:{cards.count - 1}")
    return f"cuda:{index}"


def _first_card() -> str:
    if importlib.util.find_spec("torch") is None or version("torch").endswith("+cpu"):
        return "cpu"  # found out without importing torch, which takes seconds
    try:
        return "cuda:0" if _Cards.find().count else "cpu"
    except DeviceError as error:
        # Nobody asked for a card, and the embedded model needs no torch.
        logger.warning("running on the CPU: %s", error)
        return "cpu"


@dataclass(frozen=True, slots=True)
class _Cards:
    """How many cards torch can use; with none, ``lack`` says what is missing."""

    count: int
    lack: str = ""

    @classmethod
    def find(cls) -> _Cards:
        try:
            import torch
        except (ImportError, OSError) as error:  # OSError: a shared library that torch brings or expects
            raise DeviceError(f"torch is installed but cannot be loaded: {error}") from error
        if torch.version.cuda is None and torch.version.hip is None:
            return cls(0, f"the installed torch ({torch.__version__}) is a CPU build; install a CUDA build of it")
        with warnings.catch_warnings(record=True) as caught:
            # torch reports a driver that is too old or broken as a warning.
            warnings.simplefilter("always")
            if torch.cuda.is_available():
                return cls(torch.cuda.device_count())
        reason = f" ({caught[0].message})" if caught else ""
        return cls(0, f"torch sees no NVIDIA GPU; check the driver with nvidia-smi{reason}")
