"""A translation or an analysis that fails: every dialect has the transcript, and says what is missing from it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.clip import clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.text.chatting import KEY, Reply, serving

PAUSE_SEC = 0.02
SPOKEN = "alpha bravo"
WANTED = {"model": "whisper-1", "language": "en", "output_language": "de", "enable_summarization": "true"}


def without_german(request: dict[str, Any]) -> Reply:
    data = json.loads(request["messages"][1]["content"])
    if "transcript" in data:
        return Reply({"summary": "They met."})
    if "to German" in request["messages"][0]["content"]:
        return Reply(status=400)
    return Reply({"translations": [{"id": row["id"], "text": row["text"].upper()} for row in data["segments"]]})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with serving(without_german) as endpoint:
        chat = {"chat_url": endpoint.url, "chat_model": "model-1", "chat_api_key": KEY}
        folder = tmp_path_factory.mktemp("missing")
        with (
            hosted_server(FakeRecognizer(), data_dir=folder, job_worker="inline", **chat) as running,
            httpx2.Client(base_url=running.http_url, trust_env=False, timeout=60) as client,
        ):
            yield client


def finished(client: httpx2.Client, address: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = client.get(address).json()
        if found["status"] not in ("queued", "processing"):
            return found
        time.sleep(PAUSE_SEC)


def is_named(error: dict[str, str]) -> bool:
    return error["code"] == "INTERNAL" and error["message"].startswith("translation to de: ")


def test_an_answer(client: httpx2.Client) -> None:
    answer = client.post("/v1/audio/transcriptions", data=WANTED, files={"file": ("a.wav", clip())})
    assert answer.status_code == 200
    assert answer.json()["text"].startswith(SPOKEN)
    analysis = answer.json()["nlp_analysis"]
    assert is_named(analysis.pop("error"))
    assert analysis == {"summary": "They met."}


def test_an_answer_in_which_nothing_is_missing(client: httpx2.Client) -> None:
    wanted = WANTED | {"output_language": "fr"}
    answer = client.post("/v1/audio/transcriptions", data=wanted, files={"file": ("a.wav", clip())}).json()
    assert answer["nlp_analysis"] == {"summary": "They met.", "translation": answer["text"].upper()}


def test_a_stream(client: httpx2.Client) -> None:
    form = WANTED | {"stream": "true", "response_format": "verbose_json"}
    answer = client.post("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", clip())})
    *_, done = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert done["type"] == "transcript.text.done"
    assert is_named(done["nlp_analysis"]["error"])


def test_a_job_of_audiotext(client: httpx2.Client) -> None:
    made = client.post("/v1/transcription-jobs", data=WANTED, files={"file": ("a.wav", clip())}).json()
    job = finished(client, made["url"])
    assert job["status"] == "completed"
    assert is_named(job["error"])
    assert job["result"]["text"].startswith(SPOKEN)
    result = client.get(f"{made['url']}/result")
    assert (result.status_code, result.json()) == (200, job["result"])
    same = client.get(f"/v1/transcriptions/{made['id']}").json()
    assert is_named(same["error"])
    assert (same["status"], same["text"]) == ("completed", job["result"]["text"])


def test_a_translation_of_luxasr(client: httpx2.Client) -> None:
    query = {"language": "en", "target_langs": "de,fr", "outfmt": "text", "diarization": "Disabled"}
    job = client.post("/translate", params=query, content=clip()).json()["job_id"]
    status = finished(client, f"/v3/translate/jobs/{job}")
    assert status["status"] == "failed"
    assert status["error"].startswith("translation to de: ")
    result = client.get(f"/v3/translate/jobs/{job}/result")
    assert result.status_code == 200
    assert list(result.json()) == ["English", "French"]
    assert result.json()["English"].startswith(SPOKEN)
    assert result.json()["French"] == result.json()["English"].upper()
