"""How the weights come from the package index, and stay. No index is asked: pip is told of a folder instead."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.resemblyzer import asset
from stream_server.speakers.resemblyzer.asset import FILE, MEMBER, WHEEL, find_weights, pull_weights

WEIGHTS = b"what was published"
INFO = "resemblyzer-0.1.4.dist-info"


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asset, "SHA256", hashlib.sha256(WEIGHTS).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which pip looks, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, weights: bytes | None = WEIGHTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as wheel:
        if weights is not None:
            wheel.writestr(MEMBER, weights)
        wheel.writestr("resemblyzer/__init__.py", "raise SystemExit('this code is not to be run')\n")
        # Nothing that it needs is to be fetched with it.
        wheel.writestr(
            f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: Resemblyzer\nVersion: 0.1.4\nRequires-Dist: torch\n"
        )
        wheel.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{INFO}/RECORD", "")
    return path


def test_fetched_once_and_then_kept(index: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="this environment has no pip")
    make_wheel(index)
    folder = tmp_path / "data" / "models"
    assert find_weights(folder) == WEIGHTS
    (index / WHEEL).unlink()
    assert find_weights(folder) == WEIGHTS
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_what_cannot_be_fetched_is_an_error_that_says_what_to_do(index: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="this environment has no pip")
    folder = tmp_path / "models"
    with pytest.raises(EmbedderError) as raised:
        find_weights(folder)
    said = str(raised.value)
    assert "No matching distribution found for resemblyzer==0.1.4" in said
    assert f"pip download --no-deps resemblyzer==0.1.4), and put {WHEEL} into {folder}" in said
    assert list(folder.iterdir()) == []


def test_a_source_package_is_not_built(index: Path, tmp_path: Path) -> None:
    """Building one runs its code."""
    pytest.importorskip("pip", reason="this environment has no pip")
    (index / "resemblyzer-0.1.4.tar.gz").write_bytes(b"")
    with pytest.raises(EmbedderError, match="No matching distribution"):
        pull_weights(tmp_path / "models")


def test_a_wheel_that_was_put_there_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    make_wheel(tmp_path)
    assert find_weights(tmp_path) == WEIGHTS


def test_without_pip_it_says_where_to_put_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbedderError, match=rf"there is no pip in .* put {WHEEL} into {tmp_path}"):
        find_weights(tmp_path)


def test_other_weights_than_the_published_ones_are_refused(tmp_path: Path) -> None:
    make_wheel(tmp_path, WEIGHTS + b"!")
    with pytest.raises(EmbedderError, match=f"the weights in {WHEEL} are not those that were published"):
        find_weights(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_no_more_is_unpacked_than_the_weights_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path, bytes(1_000_000))
    unpacked: list[int] = []
    monkeypatch.setattr(asset, "SIZE", 100)
    monkeypatch.setattr(asset, "_is_right", lambda content: unpacked.append(len(content)))
    with pytest.raises(EmbedderError):
        pull_weights(tmp_path)
    assert unpacked == [101]


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_a_wheel_of_something_else_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = make_wheel(tmp_path, None)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EmbedderError, match=f"{WHEEL} is not the wheel of resemblyzer==0.1.4"):
        pull_weights(tmp_path)


def test_a_wheel_that_is_damaged_inside_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(MEMBER, WEIGHTS)
        place = wheel.getinfo(MEMBER).header_offset + len(wheel.getinfo(MEMBER).FileHeader())
    content = bytearray(path.read_bytes())
    content[place] = 0xFF  # no such kind of block: it cannot be unpacked at all
    path.write_bytes(content)
    with pytest.raises(EmbedderError, match="is not the wheel of"):
        pull_weights(tmp_path)


def test_kept_weights_that_were_damaged_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(WEIGHTS[:-1])
    with pytest.raises(EmbedderError, match=f"{FILE} is damaged: delete it"):
        find_weights(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(EmbedderError, match="cannot be kept in"):
        find_weights(tmp_path / "models")
