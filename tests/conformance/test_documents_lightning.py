"""The examples of Lightning's document, as they stand there but for addresses, keys and file names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from stream_server.jobs.database import read_secret
from stream_server.jobs.webhook import webhook_secret
from tests.conformance.stage import SAID, Stage, staged
from tests.support.clip import clip
from tests.support.example import run_node, run_python, run_shell, with_names
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server

KEY = "sk-lightning"
HEADERS = {"Authorization": f"Token {KEY}"}

UPLOAD = """
curl -X POST http://localhost:7100/v1/listen \\
-H "Authorization: Token ${LICENSE_KEY}" \\
-F "audio=@/path/to/audio.wav"
"""
UPLOAD_PUNCTUATED = """
curl -X POST http://localhost:7100/v1/listen \\
-H "Authorization: Token ${LICENSE_KEY}" \\
-F "audio=@recording.wav" \\
-F "punctuate=true" \\
-F "language=en"
"""
BASIC = """
curl -X POST http://localhost:7100/v1/listen \\
-H "Authorization: Token ${LICENSE_KEY}" \\
-H "Content-Type: application/json" \\
-d '{
"url": "https://example.com/audio.wav"
}'
"""
BASIC_PYTHON = """
import requests
response = requests.post(
"http://localhost:7100/v1/listen",
headers={
"Authorization": f"Token {LICENSE_KEY}",
"Content-Type": "application/json"
},
json={
"url": "https://example.com/audio.wav"
}
)
result = response.json()
print(result['text'])
"""
BASIC_NODE = """
const response = await fetch('http://localhost:7100/v1/listen', {
method: 'POST',
headers: {
'Authorization': `Token ${LICENSE_KEY}`,
'Content-Type': 'application/json'
},
body: JSON.stringify({
url: 'https://example.com/audio.wav'
})
});
const result = await response.json();
console.log(result.text);
"""
PUNCTUATION_AND_TIMESTAMPS = """
{
"url": "https://example.com/audio.wav",
"punctuate": true,
"timestamps": true
}
"""
DIARIZATION = """
{
"url": "https://example.com/conversation.wav",
"diarize": true,
"num_speakers": 2
}
"""
CALLBACK = """
{
"url": "https://example.com/long-audio.wav",
"callback_url": "https://myapp.com/webhook/transcription"
}
"""
RETRY = """
import time
from requests.adapters import HTTPAdapter
from requests.packages.urllib3.util.retry import Retry
session = requests.Session()
retry = Retry(
total=3,
backoff_factor=1,
status_forcelist=[429, 500, 502, 503, 504]
)
adapter = HTTPAdapter(max_retries=retry)
session.mount('http://', adapter)
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("lightning")
    files, dialogues = ("audio.wav", "recording.wav", "long-audio.wav"), ("conversation.wav",)
    with staged(folder, files, languages=("en",), dialogues=dialogues, api_keys=(KEY,)) as stage:
        yield stage


def ours(stage: Stage, example: str) -> str:
    """The example with our server and our recordings."""
    places = {"localhost:7100": stage.host, "https://example.com": stage.web.url}
    return with_names(example, {theirs: our for theirs, our in places.items() if theirs in example})


def listen(stage: Stage, example: str, **names: str) -> Any:
    body = json.loads(with_names(ours(stage, example), names))
    return stage.post("/v1/listen", HEADERS, json=body).json()


def test_basic_transcription_with_curl(stage: Stage) -> None:
    answer = json.loads(run_shell(ours(stage, BASIC), stage.folder, LICENSE_KEY=KEY))
    assert SAID in answer["text"].lower()
    assert set(answer) == {"request_id", "text", "confidence", "duration", "language"}
    assert answer["duration"] == pytest.approx(10, abs=0.5)
    assert 0 < answer["confidence"] <= 1
    assert answer["language"] == "en"


def test_basic_transcription_with_python(stage: Stage) -> None:
    script = f"LICENSE_KEY = {KEY!r}\n" + ours(stage, BASIC_PYTHON)
    assert SAID in run_python(script, stage.folder).lower()


def test_basic_transcription_with_node(stage: Stage) -> None:
    script = f"const LICENSE_KEY = '{KEY}';\n" + ours(stage, BASIC_NODE)
    assert SAID in run_node(script, stage.folder).lower()


def test_file_upload(stage: Stage) -> None:
    example = with_names(ours(stage, UPLOAD), {"/path/to/audio.wav": str(stage.folder / "audio.wav")})
    assert SAID in json.loads(run_shell(example, stage.folder, LICENSE_KEY=KEY))["text"].lower()
    answer = json.loads(run_shell(ours(stage, UPLOAD_PUNCTUATED), stage.folder, LICENSE_KEY=KEY))
    assert "." in answer["text"]


def test_punctuation_and_timestamps(stage: Stage) -> None:
    answer = listen(stage, PUNCTUATION_AND_TIMESTAMPS)
    assert all(set(word) == {"word", "start", "end", "confidence"} for word in answer["words"])
    marks = [word for word in answer["words"] if not word["word"].isalnum()]
    assert marks
    assert {word["word"] for word in marks} <= {".", ",", "?", "!"}
    assert all((word["start"], word["confidence"]) == (word["end"], 1.0) for word in marks)
    assert "".join(word["word"] for word in answer["words"]) == answer["text"].replace(" ", "")


def test_timestamps_alone_give_words_without_punctuation(stage: Stage) -> None:
    body = {"url": f"{stage.web.url}/audio.wav", "timestamps": True}
    answer = stage.post("/v1/listen", HEADERS, json=body).json()
    assert "." in answer["text"]
    assert all(word["word"].isalnum() for word in answer["words"])


def test_speaker_diarization(stage: Stage) -> None:
    answer = listen(stage, DIARIZATION)
    turns = answer["speakers"]
    assert all(set(turn) == {"speaker", "text", "start", "end"} for turn in turns)
    assert turns[0]["speaker"] == "SPEAKER_00"
    assert {turn["speaker"] for turn in turns} == {"SPEAKER_00", "SPEAKER_01"}
    assert all(one["speaker"] != other["speaker"] for one, other in pairwise(turns))
    assert [turn["start"] for turn in turns] == sorted(turn["start"] for turn in turns)
    assert " ".join(turn["text"] for turn in turns) == answer["text"]


def test_callback(stage: Stage) -> None:
    answer = listen(stage, CALLBACK, **{"https://myapp.com": stage.web.url})
    assert answer == {"job_id": answer["job_id"], "status": "processing"}
    stage.web.wait_for(lambda callbacks: any(callback.values["job_id"] == answer["job_id"] for callback in callbacks))
    callback = next(found for found in stage.web.callbacks if found.values["job_id"] == answer["job_id"])
    assert callback.path == "/webhook/transcription"
    service = stage.server.service
    caller = asyncio.run(service.keys.authenticate(KEY))
    secret = webhook_secret(read_secret(service.settings), caller.id)
    body = Webhook(secret).verify(callback.body, callback.headers)
    assert (body["job_id"], body["status"]) == (answer["job_id"], "completed")
    assert SAID in body["result"]["text"].lower()
    assert 0 < body["result"]["confidence"] <= 1


def test_retry_logic(stage: Stage) -> None:
    call = BASIC_PYTHON.replace("requests.post", "session.post").replace("import requests\n", "")
    script = f"LICENSE_KEY = {KEY!r}\nimport requests\n" + RETRY + ours(stage, call)
    assert SAID in run_python(script, stage.folder).lower()


def test_missing_parameter(stage: Stage) -> None:
    answer = stage.post("/v1/listen", HEADERS, json={})
    assert answer.status_code == 400
    assert answer.json() == {"error": "Missing required parameter: url or audio file", "code": "MISSING_PARAMETER"}


def test_unsupported_format(stage: Stage) -> None:
    answer = stage.post("/v1/listen", HEADERS, files={"audio": ("a.wav", b"\x89PNG\r\n\x1a\n" + bytes(100))})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "code", "supported_formats"}
    assert answer.json()["code"] == "UNSUPPORTED_FORMAT"
    assert {"wav", "mp3", "flac", "ogg", "m4a"} <= set(answer.json()["supported_formats"])


def test_file_too_large(tmp_path: Path) -> None:
    settings = {"job_worker": "elsewhere", "max_upload_bytes": 1_000_000}
    with hosted_server(FakeRecognizer(), data_dir=tmp_path, **settings) as server:
        files = {"audio": ("a.wav", b"RIFF0000WAVE" + bytes(1_000_000))}
        answer = httpx2.post(f"{server.http_url}/v1/listen", files=files, trust_env=False)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "code", "max_size_mb"}
    assert (answer.json()["code"], answer.json()["max_size_mb"]) == ("FILE_TOO_LARGE", 1)


def test_service_unavailable(tmp_path: Path) -> None:
    """The object store is away."""
    settings = {"data_dir": tmp_path, "job_worker": "elsewhere", "retry_after": 30.0}
    with hosted_server(FakeRecognizer(), **settings) as server:
        store = tmp_path / "objects"
        store.rename(tmp_path / "away")
        store.touch()
        files = {"audio": ("a.wav", clip())}
        answer = httpx2.post(f"{server.http_url}/v1/listen", files=files, trust_env=False)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert set(answer.json()) == {"error", "code", "retry_after"}
    assert (answer.json()["code"], answer.json()["retry_after"]) == ("SERVICE_UNAVAILABLE", 30)
