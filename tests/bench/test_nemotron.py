"""The benchmark of the diarization model, on tiny weights."""

import json
from pathlib import Path

import pytest

for extra in ("torch", "transformers"):
    pytest.importorskip(extra, reason="the gpu extra is not installed")

from bench import nemotron
from tests.support.diarization import make_diarization


def test_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_diarization(tmp_path)
    options = ["--weights", str(folder), "--device", "cpu", "--seconds", "3", "--recordings", "2"]
    assert nemotron.main(options) == 0
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert len(table) == len(found)
    assert found["audio s"] == 6
    assert found["audio s per s"] > 0
    assert found["MiB held for a recording"] < 1


def test_weights_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert nemotron.main(["--weights", "no/such/thing", "--device", "cpu"]) == 1
    assert "neither a folder" in capsys.readouterr().err
