"""The models are found in the wheel's library, and nothing else is taken for them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_server.engine.moonshine.asset import AssetError
from stream_server.speakers.community import asset
from stream_server.speakers.community.asset import (
    EMBEDDING,
    LIBRARIES,
    MARK,
    SEGMENTATION,
    embedding_model,
    require_community,
    segmentation_model,
)


@pytest.fixture(scope="module")
def models() -> tuple[bytes, bytes]:
    return segmentation_model(), embedding_model()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is taken for the installed package."""
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(asset, "find_package", lambda: tmp_path / "assets")
    asset._places.cache_clear()
    yield tmp_path
    asset._places.cache_clear()


def test_both_models_of_the_wheel_are_found(models: tuple[bytes, bytes]) -> None:
    for model, expected in zip(models, (SEGMENTATION, EMBEDDING), strict=True):
        assert hashlib.sha256(model).hexdigest() == expected.sha256
        assert model[4:8] == MARK


def test_the_library_is_not_loaded() -> None:
    code = (
        "import sys; from stream_server.speakers.community.asset import embedding_model; embedding_model();"
        "sys.exit('moonshine_voice' in sys.modules or 'libmoonshine' in open('/proc/self/maps').read())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", LIBRARIES)
def test_wherever_they_are_in_the_library_of_any_system(name: str, package: Path, models: tuple[bytes, bytes]) -> None:
    one, two = models
    (package / name).write_bytes(MARK + b"junk" + MARK + b"junk" + two + b"x" + one)
    assert (segmentation_model(), embedding_model()) == models


def test_the_library_is_searched_once(package: Path, models: tuple[bytes, bytes]) -> None:
    (package / LIBRARIES[0]).write_bytes(b"".join(models))
    require_community()
    (package / LIBRARIES[0]).unlink()
    require_community()


def test_no_library(package: Path) -> None:
    with pytest.raises(AssetError, match=r"has no native library; pip install moonshine-voice=="):
        require_community()


@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_model_is_not_taken(which: int, package: Path, models: tuple[bytes, bytes]) -> None:
    damaged = [bytearray(model) for model in models]
    damaged[which][len(damaged[which]) // 2] ^= 1
    (package / LIBRARIES[0]).write_bytes(b"".join(damaged))
    with pytest.raises(AssetError, match=r"in libmoonshine\.so are not those of moonshine-voice==.*install that"):
        require_community()


@pytest.mark.parametrize("content", [b"not a library", MARK, b"1234" + MARK, b"1234" + MARK + bytes(100)])
def test_other_bytes(content: bytes, package: Path) -> None:
    (package / LIBRARIES[0]).write_bytes(content)
    with pytest.raises(AssetError, match="install that version"):
        segmentation_model()


def test_a_library_that_is_cut_off(package: Path, models: tuple[bytes, bytes]) -> None:
    (package / LIBRARIES[0]).write_bytes(b"".join(models)[:-1])
    with pytest.raises(AssetError, match="install that version"):
        embedding_model()


def test_an_empty_library(package: Path) -> None:
    (package / LIBRARIES[0]).touch()
    with pytest.raises(AssetError, match="cannot be read from"):
        require_community()


def test_once_the_right_version_is_installed_it_is_found(package: Path, models: tuple[bytes, bytes]) -> None:
    """A server need not be started anew: what was lacking is not remembered."""
    with pytest.raises(AssetError):
        require_community()
    (package / LIBRARIES[0]).write_bytes(b"".join(models))
    require_community()


def test_no_wheel(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise AssetError("the speech model is not installed")

    monkeypatch.setattr(asset, "find_package", missing)
    with pytest.raises(AssetError, match="not installed"):
        require_community()
