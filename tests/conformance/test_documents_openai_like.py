"""The examples of Shunyalabs' and audiotext's documents, as they stand there but for addresses, keys and file names."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest

from stream_server.engine.work import SAMPLE_RATE
from tests.conformance.stage import Stage, staged
from tests.support.example import run_node, run_python, run_shell, with_names
from tests.support.speech import recording

KEY = "sk-documents"
SAID = "try again"

SHUNYALABS = "https://asr.shunyalabs.ai"

TRANSCRIBE = """
curl -X POST https://asr.shunyalabs.ai/v1/audio/transcriptions \\
-H "Authorization: Bearer $SHUNYALABS_API_KEY" \\
-F "file=@call.wav" \\
-F "model=zero-indic" \\
-F "language_code=hi" \\
-F "response_format=verbose_json"
"""
HEALTH = """
curl https://asr.shunyalabs.ai/health
"""
LANGUAGES = """
curl https://asr.shunyalabs.ai/languages \\
-H "Authorization: Bearer $SHUNYALABS_API_KEY"
"""
REGISTER = """
curl -X POST https://asr.shunyalabs.ai/v1/speakers/register \\
-H "Authorization: Bearer $SHUNYALABS_API_KEY" \\
-F "name=Priya" \\
-F "file=@priya_sample.wav" \\
-F "project=support_team"
"""
LIST = """
curl "https://asr.shunyalabs.ai/v1/speakers/list?project=support_team" \\
-H "Authorization: Bearer $SHUNYALABS_API_KEY"
"""
IDENTIFY = """
curl -X POST https://asr.shunyalabs.ai/v1/speakers/identify \\
-H "Authorization: Bearer $SHUNYALABS_API_KEY" \\
-F "file=@unknown.wav" \\
-F "project=support_team"
"""
DELETE = """
curl -X DELETE https://asr.shunyalabs.ai/v1/speakers/delete \\
-H "Authorization: Bearer $SHUNYALABS_API_KEY" \\
-F "name=Priya" \\
-F "project=support_team"
"""
RETRY = """
import time, requests
def transcribe_with_retry(file_path, retries=3):
    for attempt in range(retries):
        with open(file_path, "rb") as f:
            r = requests.post(
                "https://asr.shunyalabs.ai/v1/audio/transcriptions",
                headers={"Authorization": f"Bearer {API_KEY}"},
                files={"file": f},
                data={"model": "zero-indic"},
                timeout=120,
            )
        if r.status_code == 200:
            return r.json()
        if r.status_code in (429, 500, 502, 503, 504):
            time.sleep(2 ** attempt) # 1s, 2s, 4s
            continue
        r.raise_for_status()
    raise RuntimeError("Max retries exceeded")
"""

AUDIOTEXT_PYTHON = """
from __future__ import annotations

import json
import os
import urllib.request
import uuid
from pathlib import Path

base_url = os.environ.get("AUDIOTEXT_BASE_URL", "http://127.0.0.1:8791")
token = os.environ["AUDIOTEXT_API_TOKEN"]
audio_path = Path("clip.webm")
boundary = f"audiotext-{uuid.uuid4().hex}"

parts = [
    f"--{boundary}\\r\\nContent-Disposition: form-data; name=\\"model\\"\\r\\n\\r\\ncpu-lite\\r\\n".encode(),
    f"--{boundary}\\r\\nContent-Disposition: form-data; name=\\"language\\"\\r\\n\\r\\nca\\r\\n".encode(),
    (
        f"--{boundary}\\r\\n"
        f"Content-Disposition: form-data; name=\\"file\\"; filename=\\"{audio_path.name}\\"\\r\\n"
        "Content-Type: audio/webm\\r\\n\\r\\n"
    ).encode(),
    audio_path.read_bytes(),
    f"\\r\\n--{boundary}--\\r\\n".encode(),
]
body = b"".join(parts)

request = urllib.request.Request(
    f"{base_url}/v1/audio/transcriptions",
    data=body,
    headers={
        "Authorization": f"Bearer {token}",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(body)),
    },
    method="POST",
)

with urllib.request.urlopen(request, timeout=300) as response:
    print(json.dumps(json.loads(response.read()), indent=2, ensure_ascii=False))
"""
AUDIOTEXT_NODE = """
import { readFile } from "node:fs/promises";

const baseUrl = process.env.AUDIOTEXT_BASE_URL ?? "http://127.0.0.1:8791";
const token = process.env.AUDIOTEXT_API_TOKEN;
const audio = await readFile("clip.webm");
const form = new FormData();

form.set("model", "cpu-lite");
form.set("language", "ca");
form.set("file", new Blob([audio], { type: "audio/webm" }), "clip.webm");

const response = await fetch(`${baseUrl}/v1/audio/transcriptions`, {
  method: "POST",
  headers: { Authorization: `Bearer ${token}` },
  body: form,
});

if (!response.ok) {
  throw new Error(`${response.status} ${await response.text()}`);
}

console.log(await response.json());
"""
CREATE = """
curl -sS "$AUDIOTEXT_BASE_URL/v1/transcription-jobs" \\
  -H "Authorization: Bearer $AUDIOTEXT_API_TOKEN" \\
  -F model=cpu-lite \\
  -F language=ca \\
  -F file=@clip.webm
"""
POLL = """
curl -sS "$AUDIOTEXT_BASE_URL/v1/transcription-jobs/$JOB_ID" \\
  -H "Authorization: Bearer $AUDIOTEXT_API_TOKEN"
"""
RESULT = """
curl -sS "$AUDIOTEXT_BASE_URL/v1/transcription-jobs/$JOB_ID/result" \\
  -H "Authorization: Bearer $AUDIOTEXT_API_TOKEN"
"""
CANCEL = """
curl -sS -X POST "$AUDIOTEXT_BASE_URL/v1/transcription-jobs/$JOB_ID/cancel" \\
  -H "Authorization: Bearer $AUDIOTEXT_API_TOKEN"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    files = ("call.wav", "priya_sample.wav", "unknown.wav")
    languages = ("en", "ca", "hi")
    with staged(tmp_path_factory.mktemp("openai-like"), files, languages=languages, api_keys=(KEY,)) as stage:
        _write_webm(stage)
        yield stage


def _write_webm(stage: Stage) -> None:
    """What a browser records: Opus in WebM."""
    samples = (recording("beckett.wav") * 32767).astype(np.int16)
    with av.open(str(stage.folder / "clip.webm"), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for resampled in av.AudioResampler(format="s16", layout="mono", rate=48_000).resample(frame):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))


def shunyalabs(stage: Stage, example: str) -> dict[str, Any]:
    script = with_names(example, {SHUNYALABS: stage.url})
    answer: dict[str, Any] = json.loads(run_shell(script, stage.folder, SHUNYALABS_API_KEY=KEY))
    return answer


def audiotext(stage: Stage, example: str, job: str = "") -> dict[str, Any]:
    answer = run_shell(example, stage.folder, JOB_ID=job, **environment(stage))
    described: dict[str, Any] = json.loads(answer)
    return described


def environment(stage: Stage) -> dict[str, str]:
    return {"AUDIOTEXT_BASE_URL": stage.url, "AUDIOTEXT_API_TOKEN": KEY}


def test_shunyalabs_transcribes(stage: Stage) -> None:
    answer = shunyalabs(stage, TRANSCRIBE)
    assert answer["success"] is True
    assert SAID in answer["text"].lower()
    assert {"request_id", "detected_language", "speakers", "audio_duration", "inference_time_ms"} <= set(answer)
    assert {"start", "end", "text"} <= set(answer["segments"][0])


def test_shunyalabs_health_and_languages(stage: Stage) -> None:
    health = shunyalabs(stage, HEALTH)
    assert health["status"] == "ok"
    assert set(health["services"].values()) <= {"ready", "connected"}
    listed = {language["code"]: language for language in shunyalabs(stage, LANGUAGES)["languages"]}
    assert listed["hi"] == {"code": "hi", "name": "Hindi", "script": "Devanagari", "script_code": "Deva"}


def test_shunyalabs_speakers(stage: Stage) -> None:
    assert shunyalabs(stage, REGISTER) == {"success": True, "speaker": "Priya", "message": "Registered successfully"}
    (listed,) = shunyalabs(stage, LIST)["speakers"]
    assert (listed["name"], listed["project"]) == ("Priya", "support_team")
    assert set(listed) == {"name", "project", "registered_at"}
    found = shunyalabs(stage, IDENTIFY)
    assert (found["speaker"], set(found)) == ("Priya", {"speaker", "confidence"})
    assert 0.5 <= found["confidence"] <= 1
    assert shunyalabs(stage, DELETE) == {"success": True}
    assert shunyalabs(stage, IDENTIFY) == {"speaker": "unknown", "confidence": 0.0}


def test_shunyalabs_retry_pattern(stage: Stage) -> None:
    call = f"API_KEY = {KEY!r}\nprint(repr(transcribe_with_retry('call.wav')))\n"
    printed = run_python(with_names(RETRY, {SHUNYALABS: stage.url}) + call, stage.folder)
    assert SAID in ast.literal_eval(printed)["text"].lower()


def test_audiotext_with_python(stage: Stage) -> None:
    printed = run_python(AUDIOTEXT_PYTHON, stage.folder, **environment(stage))
    assert SAID in json.loads(printed)["text"].lower()


def test_audiotext_with_node(stage: Stage) -> None:
    assert SAID in run_node(AUDIOTEXT_NODE, stage.folder, **environment(stage)).lower()


def test_audiotext_jobs(stage: Stage) -> None:
    job = audiotext(stage, CREATE)["id"]
    described = audiotext(stage, POLL, job)
    while described["status"] in ("queued", "processing"):
        described = audiotext(stage, POLL, job)
    assert described["status"] == "completed"
    result = audiotext(stage, RESULT, job)
    assert SAID in result["text"].lower()
    assert described["result"] == result


def test_audiotext_cancels_a_queued_job(stage: Stage) -> None:
    with stage.held():
        job = audiotext(stage, CREATE)["id"]
        assert audiotext(stage, CANCEL, job)["status"] == "cancelled"
        assert audiotext(stage, RESULT, job)["error"]["code"] == "CANCELLED"
