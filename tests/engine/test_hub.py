"""Where checkpoints come from, and what is said when they do not."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="the gpu extra is not installed")

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from stream_server.engine.device import DeviceError
from stream_server.engine.hub import PATTERNS, CheckpointError, find_checkpoint, missing_files, read_shards

NAME = "nvidia/nemotron-3.5-asr-streaming-0.6b"
ROOT = Path(__file__).resolve().parents[2]

Download = Callable[..., Any]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("{}")
    return folder


def http(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    """An error as the hub's client raises it."""
    return kind(f"{status} from the hub", response=SimpleNamespace(headers={}, request=None, status_code=status))  # type: ignore[arg-type]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.fixture
def download(monkeypatch: pytest.MonkeyPatch) -> Callable[[Download], None]:
    """Replaces the hub's download; the hub answers."""
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    return lambda function: monkeypatch.setattr(huggingface_hub, "snapshot_download", function)


def failing(error: Exception) -> Download:
    def snapshot_download(*_: object, **__: object) -> str:
        raise error

    return snapshot_download


def test_a_folder_is_taken_as_it_is(tmp_path: Path, download: Callable[[Download], None]) -> None:
    download(failing(AssertionError("a folder needs no hub")))
    assert find_checkpoint(str(fill(tmp_path, "config.json", "model.safetensors"))) == tmp_path


def test_a_folder_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    fill(tmp_path / "model", "config.json", "model.safetensors")
    assert find_checkpoint("~/model") == tmp_path / "model"


def test_a_folder_may_lack_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        find_checkpoint(str(tmp_path))
    fill(tmp_path, "config.json", "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        find_checkpoint(str(tmp_path))


def test_weights_may_lie_in_several_files(tmp_path: Path) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"b": shards[1], "a": shards[0], "c": shards[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    fill(tmp_path, "config.json", shards[0])
    assert missing_files(tmp_path) == [shards[1]]
    with pytest.raises(CheckpointError, match="has no model-00002-of-00002"):
        find_checkpoint(str(tmp_path))
    fill(tmp_path, shards[1])
    assert find_checkpoint(str(tmp_path)) == tmp_path
    assert read_shards(tmp_path) == shards


@pytest.mark.parametrize("shard", [5, None, "/etc/passwd", "../x", "..\\x", "C:x", "a/b.safetensors"])
def test_weights_lie_beside_their_index(tmp_path: Path, shard: object) -> None:
    index = {"weight_map": {"a": shard, "b": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    fill(tmp_path, "config.json", "model-00001-of-00001.safetensors")
    with pytest.raises(CheckpointError, match=r"index\.json cannot be right: .* is not the name of a file beside it"):
        find_checkpoint(str(tmp_path))


def test_a_repository_is_downloaded(tmp_path: Path, download: Callable[[Download], None]) -> None:
    asked: list[tuple[str, object, object, bool]] = []

    def snapshot_download(
        repository: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool
    ) -> str:
        asked.append((repository, revision, allow_patterns, local_files_only))
        return str(fill(tmp_path, "config.json", "model.safetensors"))

    download(snapshot_download)
    assert find_checkpoint(NAME) == tmp_path
    assert find_checkpoint(f"{NAME}@v2", patterns=["*.json"]) == tmp_path
    assert asked == [(NAME, None, list(PATTERNS), False), (NAME, "v2", ["*.json"], False)]


def test_a_repository_without_safetensors(tmp_path: Path, download: Callable[[Download], None]) -> None:
    download(lambda *_, **__: str(fill(tmp_path, "config.json")))
    with pytest.raises(CheckpointError, match=rf"{NAME} is no checkpoint that can be served: .* has no model\.safe"):
        find_checkpoint(NAME)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http(RepositoryNotFoundError, 404), f"no public hub repository {NAME}; if it is private.*hf auth login"),
        (http(GatedRepoError, 403), f"accept its terms at https://huggingface.co/{NAME}, then log in with `hf auth"),
        (http(RevisionNotFoundError, 404), "has no revision main"),
        (http(HfHubHTTPError, 500), "cannot be downloaded .*500 from the hub.*give the folder"),
        (
            LocalEntryNotFoundError("no"),
            "not complete in the cache, and the hub cannot be reached: .*hf download .*folder",
        ),
        (HFValidationError("no"), "neither a folder nor the name of a hub repository"),
        (ConnectionError("reset"), r"cannot be downloaded \(ConnectionError: reset\): try again"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_went_wrong_is_said(error: Exception, message: str, download: Callable[[Download], None]) -> None:
    download(failing(error))
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(NAME)


@pytest.mark.parametrize("direct", [True, False])
def test_a_full_disk(
    direct: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: Callable[[Download], None]
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def snapshot_download(*_: object, dry_run: bool = False, **__: object) -> object:
        if not dry_run:
            raise full if direct else caused(RuntimeError("worker failed"), full)
        sizes = ((2_400_000_000, True), (9_000_000_000, False), (None, True))
        return [SimpleNamespace(file_size=size, will_download=wanted) for size, wanted in sizes]

    download(snapshot_download)
    with pytest.raises(CheckpointError, match=r"no space left .*: 2\.4 GB are still to be downloaded, .* GB are free"):
        find_checkpoint(NAME)
    download(failing(full))
    with pytest.raises(CheckpointError, match=r"no space left for .*: [0-9.]+ GB are free; make room, or set HF_HOME"):
        find_checkpoint(NAME)


@pytest.mark.parametrize("name", ["./nothing", "/no such folder", "a b", "a/b/c"])
def test_names_that_are_neither(name: str) -> None:
    with pytest.raises(CheckpointError, match="is neither a folder nor the name of a hub repository"):
        find_checkpoint(name)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"huggingface_hub not installed\): pip install 'stream-server\[gpu\]'"):
        find_checkpoint(NAME)


def really_find(home: Path, **environment: str) -> str:
    """What is said with huggingface_hub itself, in a process of its own: it reads its environment when imported."""
    code = (
        "from stream_server.engine import hub\n"
        "hub.HUB_TIMEOUT_SEC = 0.2\n"
        f"try: print(hub.find_checkpoint('{NAME}'))\n"
        "except hub.CheckpointError as error: print(error)\n"
    )
    proxies = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    full = {**os.environ, **proxies, "HF_HOME": str(home), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=full, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_offline_for_real(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE forbids to download it" in really_find(tmp_path, HF_HUB_OFFLINE="1")


def test_a_hub_that_never_answers(tmp_path: Path) -> None:
    """A firewall that swallows packets must not make the server hang; what is cached is still found."""
    repository = tmp_path / "hub" / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    fill(snapshot, "config.json", "model.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert really_find(tmp_path, HF_ENDPOINT=endpoint).strip() == str(snapshot)
