"""What can be asked about speakers, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from stream_server.engine.device import DeviceError
from stream_server.engine.moonshine.asset import AssetError
from stream_server.settings import Settings
from stream_server.speakers import ability
from stream_server.speakers.ability import SpeakerAbilities, speaker_abilities

HUB = "somebody/a-model"


def failing(error: Exception) -> Any:
    def fail(*_: str) -> None:
        raise error

    return fail


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ability, "require_community", failing(AssetError("the wheel has none")))


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ability, "require_gpu_extra", failing(DeviceError("install the gpu extra")))


def test_by_default_everything_can_be_asked() -> None:
    assert speaker_abilities(Settings()) == SpeakerAbilities(None, None, None)


def test_what_is_switched_off_says_which_setting_did_it() -> None:
    found = speaker_abilities(Settings(diarizer="off", speaker_embedding="off"))
    assert found.no_diarization == "diarization is switched off on this server (diarizer=off)"
    assert found.no_live_diarization == found.no_diarization
    reason = "speaker identification is switched off on this server (speaker_embedding=off)"
    assert found.no_identification == reason


def test_each_is_switched_off_by_itself() -> None:
    assert speaker_abilities(Settings(diarizer="off")).no_identification is None
    assert speaker_abilities(Settings(speaker_embedding="off")) == SpeakerAbilities(
        None, None, "speaker identification is switched off on this server (speaker_embedding=off)"
    )


@pytest.mark.usefixtures("no_models")
def test_models_that_are_not_there() -> None:
    found = speaker_abilities(Settings())
    assert found.no_diarization == found.no_live_diarization
    assert found.no_diarization == "diarization is not available: the wheel has none"
    assert found.no_identification == "speaker identification is not available: the wheel has none"


@pytest.mark.usefixtures("no_extra")
def test_a_model_of_the_hub_needs_the_extra_and_live_callers_do_not() -> None:
    found = speaker_abilities(Settings(diarizer=HUB))
    assert found == SpeakerAbilities("diarization is not available: install the gpu extra", None, None)


@pytest.mark.usefixtures("no_extra")
@pytest.mark.parametrize("embedding", ["resemblyzer", "voice.onnx"])
def test_models_that_need_no_extra(embedding: str) -> None:
    assert speaker_abilities(Settings(speaker_embedding=embedding)).no_identification is None


@pytest.mark.usefixtures("no_models", "no_extra")
def test_live_callers_need_the_embedded_models_whatever_files_are_diarized_by() -> None:
    found = speaker_abilities(Settings(diarizer=HUB, speaker_embedding=HUB))
    assert found.no_diarization == "diarization is not available: install the gpu extra"
    assert found.no_live_diarization == "diarization is not available: the wheel has none"
    assert found.no_identification == "speaker identification is not available: install the gpu extra"


@pytest.mark.usefixtures("no_extra")
def test_another_machine_that_does_the_jobs_has_its_own_packages() -> None:
    found = speaker_abilities(Settings(diarizer=HUB, speaker_embedding=HUB, job_worker="elsewhere"))
    assert found.no_diarization is None
    assert found.no_identification is not None, "voices are registered on this one"
