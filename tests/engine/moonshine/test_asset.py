import subprocess
import sys
from pathlib import Path

import pytest

from stream_server.engine.moonshine.asset import AssetError, find_assets, find_package, find_recording


def test_finds_the_files_of_the_wheel() -> None:
    assets = find_assets()
    assert assets.encoder.stat().st_size > 10_000_000
    assert assets.decoder.stat().st_size > 10_000_000
    assert assets.tokenizer.stat().st_size > 100_000


def test_does_not_import_the_wheel() -> None:
    code = (
        "import sys; from stream_server.engine.moonshine.asset import find_assets; find_assets();"
        "sys.exit('moonshine_voice' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_says_what_to_install_when_there_is_no_wheel() -> None:
    with pytest.raises(AssetError, match="pip install moonshine-voice=="):
        find_package("a_package_that_is_not_installed")


def test_names_the_files_that_a_folder_lacks(tmp_path: Path) -> None:
    (tmp_path / "encoder_model.ort").touch()
    with pytest.raises(AssetError, match=r"lacks decoder_model_merged\.ort, tokenizer\.bin: pip install"):
        find_assets(tmp_path)


def test_an_unknown_recording_is_an_error() -> None:
    assert find_recording("beckett.wav").is_file()
    with pytest.raises(AssetError, match=r"krapp\.wav"):
        find_recording("krapp.wav")
