"""From a checkpoint to a recognizer: as many streams as fit, and clear refusals."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stream_server.engine.device import DeviceError
from stream_server.engine.fastconformer.configuration import PROMPTED
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.fastconformer.state import State
from stream_server.engine.hub import CheckpointError
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError
from tests.engine.fastconformer.hearing import SETTINGS, hear, load, noise


def test_as_many_streams_are_offered_as_the_device_has_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    allocate = State.allocate

    def poor(config: Any, streams: int, *rest: Any) -> State:
        if streams > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return allocate(config, streams, *rest)

    monkeypatch.setattr(State, "allocate", poor)
    recognizer = load(folder, streams=100)
    assert recognizer.info.max_streams == 6
    assert "memory for 6 streams, not for the 100 asked for" in caplog.text


def test_fewer_streams_are_offered_where_steps_leave_no_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warm_up = Runner.warm_up

    def greedy(runner: Runner) -> None:
        if runner.state.slots > 30:
            raise DeviceMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        warm_up(runner)

    monkeypatch.setattr(Runner, "warm_up", greedy)
    assert load(folder, streams=100).info.max_streams == 25
    assert "memory for 25 streams, not for the 100 asked for" in caplog.text


def test_a_model_that_finds_no_room_or_a_broken_device_is_refused_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stream_server.engine.registry import RecognizerSettings, load_recognizer

    for error, message in (
        (DeviceMemoryError("CUDA out of memory."), "no room for a single stream"),
        (DeviceLostError("an illegal memory access"), "cpu failed while .* was loaded: an illegal memory access"),
    ):

        def fail(runner: Runner, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Runner, "warm_up", fail)
        with pytest.raises(DeviceError, match=message):
            load_recognizer(str(folder), RecognizerSettings(device="cpu", max_streams=4))


def test_a_vocabulary_of_another_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        shutil.copytree(folder, tmp_path / name)
    vocabulary = json.loads((tmp_path / "one" / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((tmp_path / "one" / "config.json").read_text(encoding="utf-8"))
    vocabulary["model"]["vocab"]["▁stray"] = config["vocab_size"] + 3
    (tmp_path / "one" / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(CheckpointError, match="are both of the same checkpoint"):
        load(tmp_path / "one")
    config["blank_token_id"] = vocabulary["model"]["vocab"]["a"]
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="which is the blank of the model"):
        load(tmp_path / "other")


def test_the_languages_of_a_model_that_is_not_told_are_set(folder: Path) -> None:
    recognizer = load(folder, settings=replace(SETTINGS, languages=("de", "fr")))
    if PROMPTED in folder.name:
        assert "ja-JP" in recognizer.info.languages
    else:
        assert recognizer.info.languages == ("de", "fr")
        (caller,) = hear(recognizer, noise(3.0, 1), language="fr")
        assert caller.finals[0].language == "fr"


def test_a_device_without_room_for_one_stream_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> State:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(State, "allocate", full)
    with pytest.raises(DeviceError, match="no room for a single stream"):
        load(folder)
