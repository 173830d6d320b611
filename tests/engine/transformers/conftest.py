"""One tiny checkpoint of each kind, made once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

KINDS = (
    *("whisper", "moonshine"),
    *("parakeet_ctc", "parakeet_rnnt", "parakeet_tdt"),
    *("wav2vec2", "wav2vec2_unmasked", "hubert"),
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``checkpoint(kind)``: the folder of a tiny random model, one of `KINDS`."""

    @cache
    def make(kind: str) -> Path:
        from tests.engine.transformers import tiny

        folder = tmp_path_factory.mktemp(kind)
        match kind.split("_"):
            case ["whisper"]:
                return tiny.make_whisper(folder)
            case ["moonshine"]:
                return tiny.make_moonshine(folder)
            case ["parakeet", search]:
                return tiny.make_parakeet(folder, search)
            case [family, *unmasked]:
                return tiny.make_wav2vec2(folder, family, masked=not unmasked)
        raise AssertionError(kind)

    return make
