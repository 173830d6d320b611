"""The text services as the worker sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream_protocol import Segment, Transcript, Word
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Analysis
from stream_server.jobs.result import Findings
from stream_server.settings import Settings
from stream_server.text import TextServices, load_text_services
from tests.text.chatting import KEY, Endpoint, Reply, serving

SAID = Transcript(
    (
        Segment("Hello.", 0, 500, 0.9, (Word("Hello.", 0, 500, 0.9),), "A"),
        Segment("", 600, 700, 0.1),
        Segment("Good bye.", 800, 1500, 0.8, (), "B", 1),
    ),
    "en",
    2000,
)


@contextmanager
def services(**settings: Any) -> Iterator[TextServices]:
    loaded = load_text_services(Settings.load({}, **settings))
    try:
        yield loaded
    finally:
        loaded.close()


def chat_settings(endpoint: Endpoint) -> dict[str, str]:
    return {"chat_url": endpoint.url, "chat_model": "model-1", "chat_api_key": KEY}


def shout(request: dict[str, Any]) -> Reply:
    data = json.loads(request["messages"][1]["content"])
    if "transcript" in data:
        return Reply({"summary": "They met."})
    return Reply({"translations": [{"id": row["id"], "text": row["text"].upper()} for row in data["segments"]]})


def test_a_translation_keeps_the_segments_one_for_one() -> None:
    shares: list[float] = []
    with serving(shout) as endpoint, services(**chat_settings(endpoint)) as text:
        made = text.translate(SAID, "lb", shares.append)
    assert made == Transcript(
        (
            Segment("HELLO.", 0, 500, 0.9, (), "A"),
            Segment("", 600, 700, 0.1),
            Segment("GOOD BYE.", 800, 1500, 0.8, (), "B", 1),
        ),
        "lb",
        2000,
    )
    assert [row["text"] for row in endpoint.data[0]["segments"]] == ["Hello.", "Good bye."]
    assert shares[-1] == 1


def test_the_language_it_is_in_needs_no_translation() -> None:
    shares: list[float] = []
    with services() as text:
        assert text.translate(SAID, "en-US", shares.append) is SAID
    assert shares == [1]


def test_silence_is_translated_without_a_model() -> None:
    with serving(lambda request: Reply(status=500)) as endpoint, services(**chat_settings(endpoint)) as text:
        silence = Transcript((Segment(" ", 0, 1, 1),), "en", 1)
        assert text.translate(silence, "lb", lambda share: None).segments[0].text == ""
    assert endpoint.requests == []


def test_findings() -> None:
    with serving(shout) as endpoint, services(**chat_settings(endpoint)) as text:
        assert text.analyse(SAID, Analysis(summary=True)) == Findings(summary="They met.")
        assert text.analyse(SAID, Analysis()) == Findings()
    assert len(endpoint.requests) == 1


def test_what_is_not_configured_is_refused() -> None:
    with services() as text:
        with pytest.raises(JobError, match="STREAM_SERVER_CHAT_URL") as caught:
            text.analyse(SAID, Analysis(intent=True))
        assert caught.value.reason is Reason.FEATURE_UNAVAILABLE
        with pytest.raises(JobError, match="STREAM_SERVER_TRANSLATION_MODEL") as caught:
            text.translate(SAID, "lb", lambda share: None)
        assert caught.value.reason is Reason.FEATURE_UNAVAILABLE


def test_a_checkpoint_is_loaded_once_and_translates(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.text.tiny import make_nllb

    with services(translation_model=str(make_nllb(tmp_path)), device="cpu") as text:
        made = text.translate(SAID, "lb", lambda share: None)
        assert made.language == "lb"
        assert [bool(segment.text) for segment in made.segments] == [True, False, True]
        assert [(segment.start_ms, segment.words) for segment in made.segments] == [(0, ()), (600, ()), (800, ())]
        (tmp_path / "model.safetensors").unlink()
        assert text.translate(SAID, "lb", lambda share: None) == made
        with pytest.raises(JobError, match="Klingon"):
            text.translate(SAID, "tlh", lambda share: None)


def test_a_checkpoint_that_cannot_be_loaded_does_not_show_where_it_lies(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text('{"model_type": "m2m_100"}')
    with services(translation_model=str(tmp_path)) as text, pytest.raises(JobError) as caught:
        text.translate(SAID, "lb", lambda share: None)
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    assert str(tmp_path) not in caught.value.message


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    program = "import sys, stream_server.text; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
