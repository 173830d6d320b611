"""Names of devices, with whatever torch and card a machine may have."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from stream_server.engine import device as device_module
from stream_server.engine.device import DeviceError, require_gpu_extra, resolve_device


def pretend(
    monkeypatch: pytest.MonkeyPatch, *, cards: int = 0, cuda: str | None = "13.0", warning: str | None = None
) -> None:
    """Put a torch in place that sees so many cards."""

    def is_available() -> bool:
        if warning is not None:
            warnings.warn(warning, UserWarning, stacklevel=2)
        return cards > 0

    def find_spec(name: str, package: str | None = None) -> object:
        return object()

    torch: Any = SimpleNamespace(
        __version__="2.99",
        version=SimpleNamespace(cuda=cuda, hip=None),
        cuda=SimpleNamespace(is_available=is_available, device_count=lambda: cards),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(device_module, "version", lambda package: "2.99")


def test_a_build_for_the_cpu_is_known_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cards=2)
    monkeypatch.setattr(device_module, "version", lambda package: "2.99+cpu")
    assert resolve_device("auto") == "cpu"


def pretend_without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Let these modules seem not to be installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else find_spec(name))


@pytest.mark.parametrize(
    ("name", "cards", "device"),
    [
        ("cpu", 0, "cpu"),
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cuda", 1, "cuda:0"),
        ("cuda:0", 1, "cuda:0"),
        ("cuda:3", 4, "cuda:3"),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, name: str, cards: int, device: str) -> None:
    pretend(monkeypatch, cards=cards)
    assert resolve_device(name) == device


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:0 ", "CUDA", "cuda0", "mps"])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(DeviceError, match=r"unknown device .*: auto, cpu, cuda or cuda:n"):
        resolve_device(name)


def test_the_card_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cards=2)
    with pytest.raises(DeviceError, match="no device cuda:2: this machine has 2, the last is cuda:1"):
        resolve_device("cuda:2")


def test_torch_is_a_cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=None)
    with pytest.raises(DeviceError, match=r"torch \(2\.99\) is a CPU build; install a CUDA build"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


def test_no_card_and_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(DeviceError, match=r"torch sees no NVIDIA GPU; check the driver with nvidia-smi$"):
        resolve_device("cuda:0")
    pretend(monkeypatch, warning="The NVIDIA driver is too old")
    with pytest.raises(DeviceError, match=r"nvidia-smi \(The NVIDIA driver is too old\)"):
        resolve_device("cuda:0")
    assert resolve_device("auto") == "cpu"


def test_torch_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_without(monkeypatch, "torch")
    assert resolve_device("auto") == "cpu"
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(DeviceError, match=r"torch not installed\): pip install 'stream-server\[gpu\]'"):
        resolve_device("cuda")


def test_torch_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pretend(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match="cannot be loaded"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"
    assert "running on the CPU: torch is installed but cannot be loaded" in caplog.text


def test_the_missing_of_the_extra_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_without(monkeypatch, "torch", "tokenizers")
    require_gpu_extra("json")
    with pytest.raises(DeviceError, match=r"\(torch, tokenizers not installed\)"):
        require_gpu_extra("torch", "json", "tokenizers")


def test_the_module_needs_no_torch() -> None:
    code = "import sys; import stream_server.engine.device, stream_server.engine.hub; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
