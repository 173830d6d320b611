"""Tiny checkpoints of both families, and a recognizer of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer


@pytest.fixture(scope="module", params=["nemotron_asr_streaming", "nemotron3_5_asr"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.checkpoint import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> FastConformerRecognizer:
    from tests.engine.fastconformer.hearing import load

    return load(folder)
