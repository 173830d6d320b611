"""Checkpoints that cannot be served say why before anybody is let in."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")

from safetensors.torch import load_file, save_file

from stream_server.engine.hub import CheckpointError
from stream_server.engine.transformers.family import load_model
from stream_server.engine.transformers.recognizer import load_transformers_recognizer
from stream_server.engine.transformers.settings import TransformersSettings

SETTINGS = TransformersSettings()


@pytest.fixture
def folder(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be damaged."""
    return Path(shutil.copytree(checkpoint("parakeet_ctc"), tmp_path / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_transformers_recognizer("tiny", folder, "cpu", SETTINGS)
    return str(caught.value)


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_what_is_served_is_said(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    message = refusal(folder)
    assert "bert" in message
    assert "whisper" in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"model_type": "no such thing"}',
        '{"model_type": ["a"]}',
        '{"model_type": "whisper", "d_model": []}',
    ],
)
def test_a_configuration_that_makes_no_sense(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"])
def test_missing_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert str(folder) in refusal(folder)


def test_damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    assert str(folder) in refusal(folder)


def test_missing_tensors(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop("ctc_head.bias"))
    assert "ctc_head.bias" in refusal(folder)


def test_misshapen_tensors(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({"ctc_head.bias": torch.zeros(3)}))
    assert "ctc_head.bias" in refusal(folder)


def test_extra_tensors(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({"spare.weight": torch.zeros(3)}))
    assert "spare.weight" in refusal(folder)


def test_extra_tensors_that_the_class_knows_to_ignore(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_tensors(folder, lambda tensors: tensors.update({"spare.weight": torch.zeros(3)}))
    monkeypatch.setattr(transformers.ParakeetForCTC, "_keys_to_ignore_on_load_unexpected", [r"spare\.weight"])
    load_transformers_recognizer("tiny", folder, "cpu", SETTINGS)


def test_what_only_training_needs_may_be_missing(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint("wav2vec2"), tmp_path / "copy"))
    change_tensors(folder, lambda tensors: tensors.pop("wav2vec2.masked_spec_embed"))
    load_transformers_recognizer("tiny", folder, "cpu", SETTINGS)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tensors_that_are_not_finite(folder: Path, value: float) -> None:
    change_tensors(folder, lambda tensors: tensors["ctc_head.bias"][1].fill_(value))
    assert "not finite: ctc_head.bias" in refusal(folder)


def test_no_progress_bar_among_the_log_lines(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_transformers_recognizer("tiny", folder, "cpu", SETTINGS)
    assert capfd.readouterr() == ("", "")
    transformers.utils.logging.enable_progress_bar()  # in case another test has switched it off
    transformers.AutoModel.from_pretrained(folder)
    assert "Loading weights" in capfd.readouterr().err  # whoever loads something else keeps theirs


def test_features_are_made_on_the_card_of_the_model(checkpoint: Callable[[str], Path]) -> None:
    asked = []

    class Extractor:
        n_samples = 1

        def __call__(self, clips: object, *, device: str, **_: object) -> dict[str, object]:
            asked.append(device)
            return {}

    loaded, _ = load_model(checkpoint("whisper"), "tiny", torch.device("cpu"), SETTINGS)
    replace(loaded, extractor=Extractor(), device=torch.device("cuda", 1)).features([])
    assert asked == ["cuda:1"]


def test_another_sample_rate(folder: Path) -> None:
    path = folder / "processor_config.json"
    config = json.loads(path.read_text())
    config["feature_extractor"]["sampling_rate"] = 8000
    path.write_text(json.dumps(config))
    assert "8000 Hz" in refusal(folder)


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage:\n- en\n- pt-BR\nlicense: mit\n---\n# A model", ("en", "pt-BR")),
        ("---\nlanguage: de\n---\n", ("de",)),
        ("---\nlicense: mit\n---\nlanguage: de", ("nl",)),
        ("# A model without a head", ("nl",)),
        ("---\n: [\n---\n", ("nl",)),
    ],
)
def test_languages_are_those_of_the_card_or_of_the_settings(
    folder: Path, card: str, languages: tuple[str, ...]
) -> None:
    (folder / "README.md").write_text(card)
    settings = TransformersSettings(languages=("nl",))
    assert load_transformers_recognizer("tiny", folder, "cpu", settings).info.languages == languages


def test_a_model_that_does_not_say_what_it_speaks_is_taken_for_english(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recognizer = load_transformers_recognizer("tiny", folder, "cpu", SETTINGS)
    assert recognizer.info.languages == ("en",)
    assert any("taken for English" in record.getMessage() for record in caplog.records)


def test_what_is_told_of_a_model(checkpoint: Callable[[str], Path]) -> None:
    whisper = load_transformers_recognizer("owner/tiny", checkpoint("whisper"), "cpu", SETTINGS).info
    assert (whisper.name, whisper.kind, set(whisper.languages)) == ("owner/tiny", "segment", {"en", "de", "jv"})
    assert (whisper.max_segment_sec, whisper.keyterms) == (4.0, True)
    parakeet = load_transformers_recognizer("owner/tiny", checkpoint("parakeet_tdt"), "cpu", SETTINGS).info
    assert (parakeet.max_segment_sec, parakeet.keyterms) == (30.0, False)
    assert "parakeet_tdt" in parakeet.description
