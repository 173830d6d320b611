"""LuxASR's dialect: every format, translations, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx2
import orjson
import pytest
import srt

from stream_server.transport.luxasr import Asr, Translation
from tests.support.clip import DAMAGED, PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.running import Running

PAUSE_SEC = 0.02
SPOKEN = "alpha bravo"


@pytest.fixture(scope="module")
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, recognizer: FakeRecognizer) -> Iterator[Running]:
    """It does not tell speakers apart."""
    folder = tmp_path_factory.mktemp("luxasr")
    with hosted_server(recognizer, data_dir=folder, job_worker="inline", diarizer="off") as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.http_url, trust_env=False, timeout=60) as client:
        yield client


def submit(client: httpx2.Client, path: str, content: bytes | None = None, **query: str) -> str:
    answer = client.post(path, params=query, content=clip() if content is None else content)
    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"job_id", "status"}
    job: str = answer.json()["job_id"]
    return job


def finished(client: httpx2.Client, address: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = client.get(address).json()
        if found["status"] not in ("queued", "processing"):
            return found
        time.sleep(PAUSE_SEC)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    assert set(answer.json()) == {"error", "code"}
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("outfmt", "media_type", "part"),
    [
        ("colored_text", "text/html", "<"),
        ("text", "text/plain", SPOKEN),
        ("srt", "application/x-subrip", " --> "),
        ("maxqda", "text/plain", SPOKEN),
        ("json", "application/json", '"segments"'),
        ("textgrid", "text/plain", 'Object class = "TextGrid"'),
        ("textgrid_aligned", "text/plain", '"alpha"'),
    ],
)
def test_formats(client: httpx2.Client, outfmt: str, media_type: str, part: str) -> None:
    job = submit(client, "/asr2", outfmt=outfmt, language="en")
    status = finished(client, f"/v3/asr/jobs/{job}")
    assert status == {"job_id": job, "status": "completed", "progress": None, "error": None}
    result = client.get(f"/v3/asr/jobs/{job}/result")
    assert result.headers["content-type"].partition(";")[0] == media_type
    assert part in result.text


def test_what_is_not_asked_for(client: httpx2.Client) -> None:
    job = submit(client, "/asr2")
    finished(client, f"/v3/asr/jobs/{job}")
    assert client.get(f"/v3/asr/jobs/{job}/result").headers["content-type"].startswith("text/html")


def test_length_of_lines(client: httpx2.Client) -> None:
    job = submit(client, "/asr2", clip(8.0), outfmt="srt", maxlen="20", min_silence_duration_ms="300")
    finished(client, f"/v3/asr/jobs/{job}")
    cues = list(srt.parse(client.get(f"/v3/asr/jobs/{job}/result").text))
    assert {len(line) <= 20 for cue in cues for line in cue.content.splitlines()} == {True}


@pytest.mark.parametrize("query", [Asr, partial(Translation, target_langs="en")], ids=["asr", "translate"])
@pytest.mark.parametrize(
    ("values", "where_it_can", "where_it_cannot"),
    [
        ({}, True, False),
        ({"outfmt": "json"}, True, False),
        ({"outfmt": "srt"}, False, False),
        ({"outfmt": "srt", "diarization": "Enabled"}, True, True),
        ({"diarization": "Enabled"}, True, True),
        ({"diarization": "Disabled"}, False, False),
    ],
)
def test_whether_speakers_are_told_apart(
    query: Callable[..., Asr], values: dict[str, Any], where_it_can: bool, where_it_cannot: bool
) -> None:
    """Who has not asked for it gets it where the server can; who has is told by the server that it cannot."""
    asked = query(**values)
    assert asked.options(can_diarize=True).diarize is where_it_can
    assert asked.options(can_diarize=False).diarize is where_it_cannot


def test_a_result_that_is_not_there_yet(client: httpx2.Client, recognizer: FakeRecognizer) -> None:
    recognizer.gate = threading.Event()
    try:
        job = submit(client, "/asr2")
        assert refusal(client.get(f"/v3/asr/jobs/{job}/result")) == (409, "CONFLICT")
        while (found := client.get(f"/v3/asr/jobs/{job}").json())["status"] == "queued":
            time.sleep(PAUSE_SEC)
        while (found := client.get(f"/v3/asr/jobs/{job}").json())["progress"] is None:
            time.sleep(PAUSE_SEC)
        assert found["status"] == "processing"
        assert found["progress"]["message"]
        assert 0 <= found["progress"]["percent"] <= 100
    finally:
        recognizer.gate.set()
    assert finished(client, f"/v3/asr/jobs/{job}")["status"] == "completed"


def test_a_job_that_fails(client: httpx2.Client) -> None:
    job = submit(client, "/asr2", DAMAGED)
    status = finished(client, f"/v3/asr/jobs/{job}")
    assert status["status"] == "failed"
    result = client.get(f"/v3/asr/jobs/{job}/result")
    assert refusal(result) == (400, "UNSUPPORTED_FORMAT")
    assert result.json()["error"] == status["error"]


def test_a_job_that_another_dialect_has_cancelled(client: httpx2.Client, recognizer: FakeRecognizer) -> None:
    recognizer.gate = threading.Event()
    try:
        job = submit(client, "/asr2")
        client.post(f"/v1/transcriptions/{job}/cancel")
        assert client.get(f"/v3/asr/jobs/{job}").json()["status"] == "failed"
        assert refusal(client.get(f"/v3/asr/jobs/{job}/result")) == (409, "CANCELLED")
    finally:
        recognizer.gate.set()


def test_translation_to_what_is_spoken(client: httpx2.Client) -> None:
    job = submit(client, "/translate", language="en", target_langs="en, en", outfmt="text")
    address = f"/v3/translate/jobs/{job}"
    assert finished(client, address)["status"] == "completed"
    result = client.get(f"{address}/result").json()
    assert set(result) == {"English"}
    assert result["English"].startswith(SPOKEN)


def test_jobs_of_one_kind_are_unknown_to_the_other(client: httpx2.Client) -> None:
    heard = submit(client, "/asr2")
    translated = submit(client, "/translate", language="en", target_langs="en")
    foreign = client.post("/v1/transcriptions", files={"file": ("a.wav", clip())}).json()["id"]
    for address in (f"/v3/translate/jobs/{heard}", f"/v3/asr/jobs/{translated}", f"/v3/asr/jobs/{foreign}"):
        assert refusal(client.get(address)) == (404, "NOT_FOUND")
        assert refusal(client.get(f"{address}/result")) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/asr2", {"outfmt": "docx"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"diarization": "Enabled"}, 422, "FEATURE_UNAVAILABLE"),
        ("/asr2", {"diarization": "true"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"beam_size": "5"}, 422, "FEATURE_UNAVAILABLE"),
        ("/asr2", {"beam_size": "0"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"min_silence_duration_ms": "5"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"maxlen": "1"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"maxlen": "20"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"outfmt": "text", "maxlen": "20"}, 400, "INVALID_PARAMETER"),
        ("/translate", {"outfmt": "json", "maxlen": "42", "target_langs": "en"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"language": "xx"}, 400, "INVALID_PARAMETER"),
        ("/asr2", {"target_langs": "en"}, 400, "INVALID_PARAMETER"),
        ("/translate", {}, 400, "MISSING_PARAMETER"),
        ("/translate", {"target_langs": " , "}, 400, "INVALID_PARAMETER"),
        ("/translate", {"target_langs": "english,xx"}, 400, "INVALID_PARAMETER"),
        ("/translate", {"target_langs": "de", "language": "en"}, 422, "FEATURE_UNAVAILABLE"),
    ],
)
def test_what_is_refused(client: httpx2.Client, path: str, query: dict[str, str], status: int, code: str) -> None:
    assert refusal(client.post(path, params=query, content=clip())) == (status, code)


def test_a_length_of_lines_is_for_subtitles(client: httpx2.Client) -> None:
    answer = client.post("/asr2", params={"outfmt": "text", "maxlen": "20"}, content=clip())
    assert answer.json()["error"] == "maxlen has no effect on outfmt=text; it is for outfmt=srt"


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "MISSING_PARAMETER"), (PICTURE, "UNSUPPORTED_FORMAT"), (b"text", "UNSUPPORTED_FORMAT")]
)
def test_bodies_that_are_refused(client: httpx2.Client, content: bytes, code: str) -> None:
    assert refusal(client.post("/asr2", content=content)) == (400, code)


@pytest.mark.parametrize("name", ["../../etc/passwd", "%00", "caf%C3%A9.wav", "x" * 5000])
def test_names_of_files_are_only_names(client: httpx2.Client, name: str) -> None:
    answer = client.post("/asr2", content=clip(), headers={"X-Filename": name})
    assert answer.status_code == 202
    assert finished(client, f"/v3/asr/jobs/{answer.json()['job_id']}")["status"] == "completed"


def test_json_is_what_json_readers_read(client: httpx2.Client) -> None:
    job = submit(client, "/asr2", outfmt="json")
    finished(client, f"/v3/asr/jobs/{job}")
    assert orjson.loads(client.get(f"/v3/asr/jobs/{job}/result").content)["text"].startswith(SPOKEN)
