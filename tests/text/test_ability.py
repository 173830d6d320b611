"""What the server says can be done, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_server.settings import Settings
from stream_server.text import ability
from stream_server.text.ability import TextAbilities, text_abilities

CHAT = {"chat_url": "http://127.0.0.1:1/v1", "chat_model": "model-1"}


def abilities(**settings: Any) -> TextAbilities:
    return text_abilities(Settings.load({}, **settings))


def test_nothing_is_set() -> None:
    bare = abilities()
    said = bare.can_translate("en", "lb")
    assert said is not None
    assert "STREAM_SERVER_TRANSLATION_MODEL" in said
    assert "STREAM_SERVER_CHAT_URL" in said
    said = bare.can_analyse()
    assert said is not None
    assert "set chat_url (STREAM_SERVER_CHAT_URL)" in said


def test_the_same_language_needs_nothing() -> None:
    assert abilities().can_translate("en", "en-GB") is None


def test_an_endpoint_does_both() -> None:
    both = abilities(**CHAT)
    assert both.translator == "chat"
    assert both.can_translate("auto", "lb") is None
    assert both.can_analyse() is None


def test_an_endpoint_without_a_model_is_half_a_setting() -> None:
    half = abilities(chat_url="http://127.0.0.1:1/v1")
    for said in (half.can_translate("en", "lb"), half.can_analyse()):
        assert said is not None
        assert "STREAM_SERVER_CHAT_MODEL" in said


def test_a_translation_model_translates_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ability, "require_gpu_extra", lambda *modules: None)
    able = abilities(translation_model="facebook/nllb-200-distilled-600M")
    assert able.translator == "model"
    assert able.can_translate("en", "lb") is None
    assert able.can_analyse() is not None
    assert abilities(translation_model="facebook/m2m100_418M", **CHAT).translator == "model"
    named = abilities(translation_model="Helsinki-NLP/opus-mt-en-de").can_translate("en", "lb")
    assert named is not None
    assert "Luxembourgish" in named


def test_a_folder_says_its_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ability, "require_gpu_extra", lambda *modules: None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "m2m_100"}))
    special = {"additional_special_tokens": ["ltz_Latn", "eng_Latn"]}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    able = abilities(translation_model=str(tmp_path))
    assert able.can_translate("auto", "lb") is None
    assert (
        able.can_translate("en", "fr") == "the translation model does not translate to French, only ltz_Latn, eng_Latn"
    )
    (tmp_path / "config.json").write_text("no")
    assert abilities(translation_model=str(tmp_path)).can_translate("en", "fr") is None


def test_a_missing_extra_is_named_unless_the_work_is_done_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = abilities(translation_model="facebook/m2m100_418M").can_translate("en", "lb")
    assert said is not None
    assert "stream-server[gpu]" in said
    assert abilities(translation_model="facebook/m2m100_418M", job_worker="elsewhere").can_translate("en", "lb") is None
