"""The examples of Lesan's document, as they stand there but for addresses, keys, file names and waiting times."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.stage import SAID, Stage, staged
from tests.support.example import run_python, run_shell, with_names

PAUSE_SEC = 0.02
KEY = "sk-lesan"
HEADERS = {"Authorization": f"Bearer {KEY}"}
FILES = ("recording.mp3", "audio.mp3", "long-audio.mp3", "audio1.mp3", "audio2.mp3", "meeting-part1.mp3")

MULTIPART = """
curl "https://asr.lesan.ai/v1/transcriptions" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -F "file=@recording.mp3" \\
  -F "language=am" \\
  -F "mode=sync"
"""
SIGNED_URL = """
curl "https://asr.lesan.ai/v1/uploads/signed-url?filename=recording.mp3&content_type=audio/mpeg" \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""
PUT = """
curl -X PUT "https://storage.lesan.ai/..." \\
  -H "Content-Type: audio/mpeg" \\
  --data-binary @recording.mp3
"""
SUBMIT_UPLOADED = """
curl "https://asr.lesan.ai/v1/transcriptions" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"audio_url": "<file_url from step 1>", "language": "am", "mode": "async"}'
"""
SUBMIT = """
curl "https://asr.lesan.ai/v1/transcriptions" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "audio_url": "https://example.com/audio.mp3",
    "language": "am",
    "mode": "sync"
  }'
"""
POLL = """
curl -X GET "https://asr.lesan.ai/v1/transcriptions/<JOB_ID>" \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""
WORKFLOW = """
import requests
import time


API_URL = 'https://asr.lesan.ai'
headers = {"Authorization": "Bearer YOUR_API_KEY"}


# Step 1: Submit async job
response = requests.post(
    f"{API_URL}/v1/transcriptions",
    headers={**headers, "Content-Type": "application/json"},
    json={
        "audio_url": "https://example.com/long-audio.mp3",
        "language": "am",
        "mode": "async"
    }
)
job = response.json()
job_id = job["id"]
print(f"Job submitted: {job_id}")


# Step 2: Poll for completion
while True:
    status_resp = requests.get(
        f"{API_URL}/v1/transcriptions/{job_id}",
        headers=headers
    )
    status = status_resp.json()


    progress = status.get("progress") or {}
    print(f"Status: {status['status']} ({progress.get('percent', 0)}%)")


    if status["status"] == "completed":
        print(f"Transcription: {status['text']}")
        break
    elif status["status"] in ("failed", "cancelled"):
        print(f"Job {status['status']}: {status.get('error', 'Unknown error')}")
        break


    time.sleep(5)  # Poll every 5 seconds
"""
LIST = """
curl "https://asr.lesan.ai/v1/transcriptions?limit=10&status_filter=completed" \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""
CANCEL = """
curl -X POST "https://asr.lesan.ai/v1/transcriptions/job_abc123/cancel" \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""
DELETE = """
curl -X DELETE "https://asr.lesan.ai/v1/transcriptions/job_abc123" \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""
BATCH = """
curl "https://asr.lesan.ai/v1/transcriptions/batch" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "audio_urls": [
      "https://example.com/audio1.mp3",
      "https://example.com/audio2.mp3"
    ],
    "language": "am"
  }'
"""
BATCH_FILES = """
curl "https://asr.lesan.ai/v1/transcriptions/batch" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -F "files=@meeting-part1.mp3" \\
  -F "files=@meeting-part2.mp3" \\
  -F "language=am"
"""
BATCH_POLL = """
import requests
import time


API_URL = 'https://asr.lesan.ai'
headers = {"Authorization": "Bearer YOUR_API_KEY"}


# batch_id is the "id" returned when the batch was created.
while True:
    resp = requests.get(f"{API_URL}/v1/transcriptions/{batch_id}", headers=headers)
    resp.raise_for_status()
    batch = resp.json()


    meta = batch.get("metadata", {})
    print(f"{batch['status']}: "
          f"{meta.get('completed_count', 0)} done, "
          f"{meta.get('failed_count', 0)} failed "
          f"of {meta.get('total_count', 0)}")


    if batch["status"] in ("completed", "failed"):
        break
    time.sleep(5)  # Poll every 5 seconds


# Per-file results are under metadata.jobs — correlate by "url".
for job in batch["metadata"]["jobs"]:
    print(f"  {job['url']} -> {job['status']}")
    if job["status"] == "completed":
        # For segments, speakers, and timings, fetch the child job by job_id.
        full = requests.get(
            f"{API_URL}/v1/transcriptions/{job['job_id']}", headers=headers
        ).json()
        print(f"    text: {full['text']}")
"""

JOB_FIELDS = {
    "id",
    "object",
    "status",
    "language",
    "text",
    "segments",
    "speakers",
    "progress",
    "duration_seconds",
    "processing_time_seconds",
    "error",
    "metadata",
    "created_at",
    "completed_at",
    "result_url",
    "audio_url",
    "url",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    files = (*FILES, "meeting-part2.mp3")
    with staged(tmp_path_factory.mktemp("lesan"), files, languages=("en", "am", "ti"), api_keys=(KEY,)) as stage:
        yield stage


def curl(stage: Stage, example: str, **names: str) -> dict[str, Any]:
    answer = run_shell(
        with_names(example, {"https://asr.lesan.ai": stage.url, "YOUR_API_KEY": KEY, **names}), stage.folder
    )
    found: dict[str, Any] = json.loads(answer)
    return found


def python(stage: Stage, example: str, prelude: str = "", **names: str) -> str:
    replaced = {"https://asr.lesan.ai": stage.url, "YOUR_API_KEY": KEY, "time.sleep(5)": "time.sleep(0.05)", **names}
    return run_python(prelude + with_names(example, replaced), stage.folder)


def ask(stage: Stage, job: str) -> dict[str, Any]:
    found: dict[str, Any] = stage.get(f"/v1/transcriptions/{job}", HEADERS).json()
    return found


def finished(stage: Stage, job: str) -> dict[str, Any]:
    while (found := ask(stage, job))["status"] in ("queued", "processing"):
        time.sleep(PAUSE_SEC)
    return found


def test_multipart_upload(stage: Stage) -> None:
    job = curl(stage, MULTIPART)
    assert job["status"] == "completed"
    assert SAID in job["text"].lower()
    assert set(job) == JOB_FIELDS


def test_signed_upload(stage: Stage) -> None:
    address = curl(stage, SIGNED_URL)
    assert set(address) == {"upload_url", "file_url", "file_id"}
    assert address["file_id"].startswith("file_")
    run_shell(with_names(PUT, {"https://storage.lesan.ai/...": address["upload_url"]}), stage.folder)
    job = curl(stage, SUBMIT_UPLOADED, **{"<file_url from step 1>": address["file_url"]})
    assert job["status"] in ("queued", "processing")
    assert SAID in finished(stage, job["id"])["text"].lower()


def test_basic_transcription(stage: Stage) -> None:
    job = curl(stage, SUBMIT, **{"https://example.com": stage.web.url})
    polled = curl(stage, POLL, **{"<JOB_ID>": job["id"]})
    assert polled == job
    assert set(job) == JOB_FIELDS
    assert (job["object"], job["status"], job["language"]) == ("transcription", "completed", "am")
    assert (job["metadata"], job["url"]) == ({"language": "am"}, f"/v1/transcriptions/{job['id']}")
    first = job["segments"][0]
    assert set(first) == {"id", "start_ms", "end_ms", "duration_ms", "text", "speaker", "confidence"}
    assert first["duration_ms"] == first["end_ms"] - first["start_ms"]
    for field in ("speakers", "progress", "error", "result_url", "audio_url"):
        assert job[field] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["created_at"])


def test_the_first_answer(stage: Stage) -> None:
    with stage.held():
        order = {"audio_url": f"{stage.web.url}/audio.mp3", "language": "am", "mode": "async"}
        job = stage.post("/v1/transcriptions", HEADERS, json=order).json()
    assert job | {"id": "", "created_at": "", "url": ""} == {
        "id": "",
        "object": "transcription",
        "status": "queued",
        "language": "am",
        "text": None,
        "segments": None,
        "speakers": None,
        "progress": None,
        "duration_seconds": None,
        "processing_time_seconds": None,
        "error": None,
        "metadata": None,
        "created_at": "",
        "completed_at": None,
        "result_url": None,
        "audio_url": None,
        "url": "",
    }
    finished(stage, job["id"])


def test_async_polling_workflow(stage: Stage) -> None:
    printed = python(stage, WORKFLOW, **{"https://example.com": stage.web.url})
    assert "Status: completed" in printed
    assert SAID in printed.lower()


def test_async_polling_workflow_of_a_job_that_fails(stage: Stage) -> None:
    printed = python(stage, WORKFLOW, **{"https://example.com/long-audio.mp3": f"{stage.web.url}/nowhere.mp3"})
    assert "Job failed: {'code': 'URL_FAILED'" in printed


def test_list_jobs(stage: Stage) -> None:
    made = curl(stage, MULTIPART)
    page = curl(stage, LIST)
    assert page["data"][0]["id"] == made["id"]
    assert {job["status"] for job in page["data"]} == {"completed"}


def test_cancel_and_delete(stage: Stage) -> None:
    with stage.held():
        address = {"<file_url from step 1>": f"{stage.web.url}/audio.mp3"}
        job = curl(stage, SUBMIT_UPLOADED, **address)["id"]
        assert curl(stage, CANCEL, job_abc123=job)["status"] == "cancelled"
        assert curl(stage, CANCEL, job_abc123=job)["error"]["code"] == "CONFLICT"
        assert curl(stage, DELETE, job_abc123=job)["deleted"] is True
    assert ask(stage, job)["error"]["code"] == "NOT_FOUND"


def test_batch_of_addresses(stage: Stage) -> None:
    with stage.held():
        batch = curl(stage, BATCH, **{"https://example.com": stage.web.url})
    assert set(batch) == JOB_FIELDS | {"audio_download_url"}
    assert batch["status"] == "queued"
    assert batch["metadata"] == {"batch_mode": True, "total_count": 2}
    printed = python(stage, BATCH_POLL, prelude=f"batch_id = {batch['id']!r}\n")
    assert "completed: 2 done, 0 failed of 2" in printed
    for name in ("audio1.mp3", "audio2.mp3"):
        assert f"  {stage.web.url}/{name} -> completed" in printed
    assert printed.lower().count(SAID) == 2
    done = ask(stage, batch["id"])
    jobs = done["metadata"].pop("jobs")
    assert done["metadata"] == {
        "batch_mode": True,
        "total_count": 2,
        "completed_count": 2,
        "failed_count": 0,
        "processing_count": 0,
        "queued_count": 0,
    }
    assert done["progress"] == {"stage": "completed", "percent": 100, "total_segments": 2, "done_segments": 2}
    assert (done["text"], done["segments"]) == (None, None)
    assert [set(job) for job in jobs] == [{"job_id", "url", "status", "text"}] * 2


def test_batch_of_files(stage: Stage) -> None:
    batch = curl(stage, BATCH_FILES)
    printed = python(stage, BATCH_POLL, prelude=f"batch_id = {batch['id']!r}\n")
    assert "  meeting-part1.mp3 -> completed\n" in printed
    assert "  meeting-part2.mp3 -> completed\n" in printed


def test_partial_failure(stage: Stage) -> None:
    places = {"https://example.com/audio1.mp3": f"{stage.web.url}/nowhere.mp3", "https://example.com": stage.web.url}
    batch = curl(stage, BATCH, **places)
    printed = python(stage, BATCH_POLL, prelude=f"batch_id = {batch['id']!r}\n")
    assert "completed: 1 done, 1 failed of 2" in printed
    failed = ask(stage, batch["id"])["metadata"]["jobs"][0]
    assert (failed["url"], failed["status"]) == (f"{stage.web.url}/nowhere.mp3", "failed")
    assert ask(stage, failed["job_id"])["error"]["code"] == "URL_FAILED"


def test_media_probe(stage: Stage) -> None:
    answer = stage.post("/v1/media/probe", HEADERS, json={"audio_url": f"{stage.web.url}/recording.mp3"})
    assert answer.status_code == 200
    found = answer.json()
    assert found["duration_seconds"] == pytest.approx(10, abs=0.5)
    assert found | {"duration_seconds": None} == {
        "duration_seconds": None,
        "title": "recording",
        "thumbnail": None,
        "is_live": False,
    }
