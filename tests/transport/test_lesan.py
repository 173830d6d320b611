"""Lesan's dialect: jobs, batches, lists, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.clip import DAMAGED, PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import client_of, hosted_server
from tests.support.postgres import Postgres
from tests.support.receiver import Receiver, running_receiver
from tests.support.running import Running

PAUSE_SEC = 0.02
KEY, OTHER = "sk-one", "sk-two"
JOBS = "/v1/transcriptions"


@pytest.fixture(scope="module")
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, recognizer: FakeRecognizer) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("lesan")
    settings = {"job_worker": "inline", "api_keys": (KEY, OTHER), "allowed_hosts": ("127.0.0.0/8",)}
    with hosted_server(recognizer, data_dir=folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def web() -> Iterator[Receiver]:
    with running_receiver() as web:
        web.files |= {"/a.wav": clip(), "/damaged.wav": DAMAGED}
        yield web


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with client_of(server, KEY) as client:
        yield client


@pytest.fixture
def stranger(server: Running) -> Iterator[httpx2.Client]:
    with client_of(server, OTHER) as client:
        yield client


@contextmanager
def held(recognizer: FakeRecognizer) -> Iterator[None]:
    """Nothing is recognized until the block ends."""
    recognizer.gate = threading.Event()
    try:
        yield
    finally:
        recognizer.gate.set()


def submit(client: httpx2.Client, **values: Any) -> dict[str, Any]:
    answer = client.post(JOBS, data=values, files={"file": ("a.wav", clip())})
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def finished(client: httpx2.Client, job: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = client.get(f"{JOBS}/{job}").json()
        if found["status"] not in ("queued", "processing"):
            return found
        time.sleep(PAUSE_SEC)


def code_of(answer: httpx2.Response) -> str:
    """The code of an error; everything else about its shape holds for all of them."""
    body = answer.json()
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    assert body["request_id"] == answer.headers["x-request-id"]
    code: str = body["error"]["code"]
    return code


def test_a_job_is_answered_at_once_and_done_later(client: httpx2.Client) -> None:
    answer = client.post(JOBS, files={"file": ("a.wav", clip())})
    assert answer.status_code == 202
    made = answer.json()
    assert made["language"] is None
    done = finished(client, made["id"])
    assert (done["status"], done["language"], done["metadata"]) == ("completed", "en", {"language": "en"})
    assert done["text"].startswith("alpha bravo")
    assert done["text"] == " ".join(segment["text"] for segment in done["segments"])
    assert done["duration_seconds"] == pytest.approx(2.0)
    assert done["processing_time_seconds"] > 0
    assert done["created_at"] < done["completed_at"]


def test_who_waits_gets_the_transcript(client: httpx2.Client, web: Receiver) -> None:
    answer = client.post(JOBS, json={"audio_url": f"{web.url}/a.wav", "mode": "sync", "language": "en"})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.json() == client.get(answer.json()["url"]).json()


def test_who_waits_learns_that_it_failed(client: httpx2.Client, web: Receiver) -> None:
    answer = client.post(JOBS, json={"audio_url": f"{web.url}/damaged.wav", "mode": "sync"})
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert answer.json()["error"]["code"] == "UNSUPPORTED_FORMAT"
    assert answer.json()["text"] is None


def test_who_has_waited_long_enough_gets_the_job(tmp_path: Path) -> None:
    settings = {"job_worker": "elsewhere", "sync_timeout": 0.1, "api_keys": (KEY,)}
    with hosted_server(FakeRecognizer(), data_dir=tmp_path, **settings) as server, client_of(server, KEY) as client:
        answer = client.post(JOBS, data={"mode": "sync"}, files={"file": ("a.wav", clip())})
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        assert client.get(answer.json()["url"]).json() == answer.json()


def test_progress_while_it_is_processed(client: httpx2.Client, recognizer: FakeRecognizer) -> None:
    with held(recognizer):
        job = submit(client)["id"]
        while not (found := client.get(f"{JOBS}/{job}").json())["progress"]:
            time.sleep(PAUSE_SEC)
        assert found["status"] == "processing"
        assert set(found["progress"]) == {"stage", "percent", "total_segments", "done_segments"}
    assert finished(client, job)["progress"] is None


def test_a_callback_that_is_refused_is_seen_in_the_job(client: httpx2.Client, web: Receiver) -> None:
    web.answer = lambda callback: 410
    try:
        address = f"{web.url}/gone"
        job = submit(client, callback_url=address)
        new = {"url": address, "status": "waiting", "attempts": 0, "last_status": None, "last_error": None}
        assert job["callback"] == new
        batch = client.post(f"{JOBS}/batch", data={"callback_url": address}, files={"files": clip()}).json()
        assert batch["callback"] == new
        while (told := client.get(job["url"]).json()["callback"])["status"] != "failed":
            time.sleep(0.05)
    finally:
        web.answer = lambda callback: 200
    assert (told["attempts"], told["last_status"]) == (1, 410)
    assert "410" in told["last_error"]


def test_the_list_goes_back_page_by_page(stranger: httpx2.Client) -> None:
    made = [finished(stranger, submit(stranger)["id"])["id"] for _ in range(3)]
    first = stranger.get(JOBS, params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == made[:0:-1]
    assert first["has_more"] is True
    second = stranger.get(JOBS, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in second["data"]] == made[:1]
    assert (second["has_more"], second["next_cursor"]) == (False, None)
    assert second["data"][0]["text"]
    assert second["data"][0]["segments"] is None


def test_the_list_by_state(client: httpx2.Client, web: Receiver) -> None:
    failed = client.post(JOBS, json={"audio_url": f"{web.url}/damaged.wav", "mode": "sync"}).json()["id"]
    completed = submit(client, mode="sync")["id"]

    def listed(state: str) -> list[str]:
        page = client.get(JOBS, params={"status_filter": state}).json()
        assert {job["status"] for job in page["data"]} <= {state}
        return [job["id"] for job in page["data"]]

    assert failed in listed("failed")
    assert completed in listed("completed")
    assert {failed, completed}.isdisjoint(listed("queued"))


def test_a_batch_in_the_list(client: httpx2.Client, web: Receiver) -> None:
    batch = client.post(f"{JOBS}/batch", json={"audio_urls": [f"{web.url}/a.wav"]}).json()["id"]
    page = client.get(JOBS, params={"limit": 1}).json()
    assert [job["id"] for job in page["data"]] == [batch]
    assert page["data"][0]["metadata"]["total_count"] == 1
    finished(client, batch)


def test_a_job_is_cancelled_once(client: httpx2.Client, recognizer: FakeRecognizer) -> None:
    with held(recognizer):
        job = submit(client)["id"]
        answer = client.post(f"{JOBS}/{job}/cancel")
        assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "cancelled", None)
        again = client.post(f"{JOBS}/{job}/cancel")
        assert (again.status_code, code_of(again)) == (409, "CONFLICT")
    assert client.get(f"{JOBS}/{job}").json()["status"] == "cancelled"


def test_a_deleted_job_is_gone(client: httpx2.Client) -> None:
    job = submit(client, mode="sync")["id"]
    assert client.delete(f"{JOBS}/{job}").json() == {"id": job, "object": "transcription", "deleted": True}
    for answer in (client.get(f"{JOBS}/{job}"), client.delete(f"{JOBS}/{job}"), client.post(f"{JOBS}/{job}/cancel")):
        assert (answer.status_code, code_of(answer)) == (404, "NOT_FOUND")


def test_another_key_sees_nothing(client: httpx2.Client, stranger: httpx2.Client) -> None:
    job = submit(client, mode="sync")["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
        answer = stranger.request(method, f"{JOBS}/{job}{path}")
        assert (answer.status_code, code_of(answer)) == (404, "NOT_FOUND")
    assert job not in [listed["id"] for listed in stranger.get(JOBS, params={"limit": 100}).json()["data"]]
    assert client.get(f"{JOBS}/{job}").status_code == 200


@pytest.mark.parametrize("job", ["1", "' OR 1=1 --", "..%2f..%2fetc%2fpasswd", "%00", "x" * 2000, "batch", "%ff"])
def test_ids_that_are_none(client: httpx2.Client, job: str) -> None:
    answer = client.get(f"{JOBS}/{job}")
    assert answer.status_code == 404


def test_an_id_that_postgresql_cannot_look_for(postgres: Postgres, tmp_path: Path) -> None:
    settings = {"job_worker": "elsewhere", "database_url": postgres.new_database(), "api_keys": (KEY,)}
    with hosted_server(FakeRecognizer(), data_dir=tmp_path, **settings) as server, client_of(server, KEY) as client:
        assert code_of(client.get(f"{JOBS}/%00")) == "NOT_FOUND"


def test_a_batch_of_files_with_one_that_is_damaged(client: httpx2.Client) -> None:
    files = [("files", ("good.wav", clip())), ("files", ("bad.wav", DAMAGED)), ("files", ("good.wav", clip()))]
    answer = client.post(f"{JOBS}/batch", files=files)
    assert answer.status_code == 202
    assert answer.json()["metadata"] == {"batch_mode": True, "total_count": 3}
    done = finished(client, answer.json()["id"])
    assert done["status"] == "completed"
    counts = {name: value for name, value in done["metadata"].items() if name.endswith("_count")}
    assert counts == {
        "total_count": 3,
        "completed_count": 2,
        "failed_count": 1,
        "processing_count": 0,
        "queued_count": 0,
    }
    jobs = done["metadata"]["jobs"]
    assert [(job["url"], job["status"]) for job in jobs] == [
        ("good.wav", "completed"),
        ("bad.wav", "failed"),
        ("good.wav", "completed"),
    ]
    assert [set(job) for job in jobs] == [
        {"job_id", "url", "status", "text"},
        {"job_id", "url", "status"},
        {"job_id", "url", "status", "text"},
    ]
    child = client.get(f"{JOBS}/{jobs[0]['job_id']}").json()
    assert child["segments"]
    assert child["text"] == jobs[0]["text"]


def test_a_file_of_a_batch_that_is_deleted_was_one_of_them(client: httpx2.Client) -> None:
    files = [("files", ("a.wav", clip())) for _ in range(3)]
    batch = client.post(f"{JOBS}/batch", files=files).json()["id"]
    entries = finished(client, batch)["metadata"]["jobs"]
    client.delete(f"{JOBS}/{entries[2]['job_id']}")
    found = client.get(f"{JOBS}/{batch}").json()
    counts = {name: value for name, value in found["metadata"].items() if name.endswith("_count")}
    assert counts == {
        "total_count": 3,
        "completed_count": 2,
        "failed_count": 0,
        "processing_count": 0,
        "queued_count": 0,
        "deleted_count": 1,
    }
    assert [entry["job_id"] for entry in found["metadata"]["jobs"]] == [entry["job_id"] for entry in entries[:2]]
    assert found["progress"] == {"stage": "completed", "percent": 100, "total_segments": 3, "done_segments": 3}
    elsewhere = client.get(f"/v1/transcription-jobs/{batch}").json()["progress"]
    assert elsewhere == {"percent": 100, "message": "3 of 3 files finished"}


def ended(client: httpx2.Client, answer: httpx2.Response) -> list[tuple[str, str | None]]:
    """Of every file of a batch what it was called, and the code of its error."""
    assert answer.status_code == 202, answer.text
    done = finished(client, answer.json()["id"])
    entries = done["metadata"]["jobs"]
    children = [client.get(f"{JOBS}/{entry['job_id']}").json() for entry in entries]
    assert [child["status"] for child in children] == [entry["status"] for entry in entries]
    codes = [child["error"] and child["error"]["code"] for child in children]
    assert done["metadata"]["failed_count"] == sum(code is not None for code in codes)
    assert done["status"] == ("completed" if None in codes else "failed")
    return [(entry["url"], code) for entry, code in zip(entries, codes, strict=True)]


def test_files_that_are_refused_fail_alone(client: httpx2.Client, server: Running) -> None:
    objects = server.service.settings.data_dir / "objects"
    before = set(objects.iterdir())
    files = [
        ("files", ("picture.wav", PICTURE)),
        ("files", ("good.wav", clip())),
        ("files", ("empty.wav", b"")),
        ("files", ("good.wav", clip())),
    ]
    answer = client.post(f"{JOBS}/batch", files=files)
    assert answer.json()["metadata"]["total_count"] == 4
    assert ended(client, answer) == [
        ("picture.wav", "UNSUPPORTED_FORMAT"),
        ("good.wav", None),
        ("empty.wav", "UNSUPPORTED_FORMAT"),
        ("good.wav", None),
    ]
    child = client.get(answer.json()["url"]).json()["metadata"]["jobs"][2]["job_id"]
    assert client.get(f"{JOBS}/{child}").json()["error"]["message"] == "empty.wav: the file is empty"
    while not set(objects.iterdir()) <= before:
        time.sleep(PAUSE_SEC)


def uploaded(client: httpx2.Client) -> str:
    signed = client.get("/v1/uploads/signed-url", params={"filename": "a.wav"}).json()
    assert httpx2.put(signed["upload_url"], content=clip(), trust_env=False).status_code == 200
    address: str = signed["file_url"]
    return address


def test_addresses_that_are_refused_fail_alone(
    client: httpx2.Client, stranger: httpx2.Client, recognizer: FakeRecognizer, web: Receiver
) -> None:
    good, upload, used, other = f"{web.url}/a.wav", uploaded(client), uploaded(client), uploaded(stranger)
    with held(recognizer):
        job = client.post(JOBS, json={"audio_url": used}).json()["id"]
        wanted = [
            ("http://10.0.0.1/a.wav", "URL_REFUSED"),
            (good, None),
            ("file:///etc/passwd", "URL_REFUSED"),
            ("s3://somebody/a.wav", "URL_REFUSED"),
            ("http://example.com/\r\na.wav", "URL_REFUSED"),
            ("", "URL_REFUSED"),
            ("https://example.com/" + "a" * 4076, "URL_REFUSED"),
            (upload, None),
            (upload, "NOT_FOUND"),
            (used, "NOT_FOUND"),
            (other, "NOT_FOUND"),
            ("lesan://file_" + "0" * 32, "NOT_FOUND"),
            ("upload://file_1", "INVALID_PARAMETER"),
        ]
        urls = [url + "a" * (len(url) == 4096) for url, _ in wanted]
        answer = client.post(f"{JOBS}/batch", json={"audio_urls": urls})
    assert ended(client, answer) == wanted
    assert finished(client, job)["status"] == "completed"


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"audio_urls": ["http://10.0.0.1/a.wav", "upload://file_1"]}},
        {"files": [("files", ("a.wav", PICTURE)), ("files", ("b.wav", b""))]},
    ],
    ids=["addresses", "files"],
)
def test_a_batch_of_which_everything_is_refused(client: httpx2.Client, body: dict[str, Any]) -> None:
    found = ended(client, client.post(f"{JOBS}/batch", **body))
    assert len(found) == 2
    assert None not in dict(found).values()


def test_a_batch_on_its_way(client: httpx2.Client, recognizer: FakeRecognizer, web: Receiver) -> None:
    with held(recognizer):
        batch = client.post(f"{JOBS}/batch", json={"audio_urls": [f"{web.url}/a.wav"] * 4}).json()["id"]
        while not (found := client.get(f"{JOBS}/{batch}").json())["metadata"]["processing_count"]:
            time.sleep(PAUSE_SEC)
        assert found["progress"]["total_segments"] == 4
        assert found["progress"]["done_segments"] == 0
        working = [job for job in found["metadata"]["jobs"] if job["status"] == "processing"]
        assert working
        cancelled = client.post(f"{JOBS}/{batch}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["metadata"]["cancelled_count"] == 4
    assert cancelled["progress"]["done_segments"] == 4


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "MISSING_PARAMETER"),
        ({"audio_url": ""}, 400, "MISSING_PARAMETER"),
        ({"audio_url": None}, 400, "MISSING_PARAMETER"),
        ({"audio_url": 7}, 400, "INVALID_PARAMETER"),
        ({"audio_url": "https://example.com/a.wav", "mode": "later"}, 400, "INVALID_PARAMETER"),
        ({"audio_url": "https://example.com/a.wav", "language": "xx"}, 400, "INVALID_PARAMETER"),
        ({"audio_url": "https://example.com/a.wav", "speed": 2}, 400, "INVALID_PARAMETER"),
        ({"audio_url": "http://10.0.0.1/a.wav"}, 400, "URL_REFUSED"),
        ({"audio_url": "http://169.254.169.254/latest/meta-data"}, 400, "URL_REFUSED"),
        ({"audio_url": "file:///etc/passwd"}, 400, "URL_REFUSED"),
        ({"audio_url": "s3://somebody/a.wav"}, 400, "URL_REFUSED"),
        ({"audio_url": "upload://file_1"}, 400, "INVALID_PARAMETER"),
        ({"audio_url": "lesan://file_" + "0" * 32}, 404, "NOT_FOUND"),
    ],
)
def test_what_is_refused(client: httpx2.Client, body: dict[str, Any], status: int, code: str) -> None:
    answer = client.post(JOBS, json=body)
    assert (answer.status_code, code_of(answer)) == (status, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MISSING_PARAMETER"),
        ({"audio_urls": []}, "MISSING_PARAMETER"),
        ({"audio_urls": "https://example.com/a.wav"}, "INVALID_PARAMETER"),
        ({"audio_urls": ["https://example.com/a.wav"] * 101}, "INVALID_PARAMETER"),
        ({"audio_urls": ["https://example.com/a.wav", 7]}, "INVALID_PARAMETER"),
        ({"audio_urls": ["https://example.com/a.wav"], "mode": "sync"}, "INVALID_PARAMETER"),
    ],
)
def test_batches_that_are_refused(client: httpx2.Client, body: dict[str, Any], code: str) -> None:
    answer = client.post(f"{JOBS}/batch", json=body)
    assert (answer.status_code, code_of(answer)) == (400, code)


@pytest.mark.parametrize("content", [b"", PICTURE, b"%PDF-1.7", b"hello"])
def test_files_that_are_refused(client: httpx2.Client, content: bytes) -> None:
    answer = client.post(JOBS, files={"file": ("a.wav", content)})
    assert (answer.status_code, code_of(answer)) == (400, "UNSUPPORTED_FORMAT")


def test_a_file_and_an_address_are_too_much(client: httpx2.Client, server: Running) -> None:
    objects = server.service.settings.data_dir / "objects"
    before = set(objects.iterdir())
    answer = client.post(JOBS, data={"audio_url": "https://example.com/a.wav"}, files={"file": ("a.wav", clip())})
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_PARAMETER")
    many = [("files", ("a.wav", clip()))]
    answer = client.post(f"{JOBS}/batch", data={"audio_urls": ["https://example.com/a.wav"]}, files=many)
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_PARAMETER")
    assert set(objects.iterdir()) <= before


def test_a_list_of_whatever_is_not_said(client: httpx2.Client) -> None:
    made = submit(client)["id"]
    page = client.get(JOBS, params={"limit": "", "status_filter": "", "cursor": " "}).json()
    assert page["data"][0]["id"] == made
    signed = client.get("/v1/uploads/signed-url", params={"filename": "a.wav", "content_type": ""}).json()
    assert client.put(signed["upload_url"], content=clip(), headers={"Content-Type": "audio/wav"}).status_code == 200
    missing = client.get("/v1/uploads/signed-url", params={"filename": ""})
    assert (missing.status_code, code_of(missing)) == (400, "MISSING_PARAMETER")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "many"},
        {"status_filter": "lost"},
        {"cursor": "nonsense"},
        {"limit": [1, 2]},
        {"limit": ["", 2]},
    ],
)
def test_lists_that_are_refused(client: httpx2.Client, query: dict[str, Any]) -> None:
    answer = client.get(JOBS, params=query)
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_PARAMETER")


def test_a_key_is_needed(server: Running) -> None:
    with client_of(server, "wrong") as client:
        answers = [client.get(JOBS), client.get(f"{JOBS}/1"), client.get("/v1/uploads/signed-url?filename=a")]
        answers.append(client.post(JOBS, files={"file": ("a.wav", clip())}))
    assert [(answer.status_code, code_of(answer)) for answer in answers] == [(401, "UNAUTHORIZED")] * 4


def test_what_a_probe_tells(client: httpx2.Client, web: Receiver) -> None:
    answer = client.post("/v1/media/probe", json={"audio_url": f"{web.url}/a.wav"})
    assert answer.json() == {"duration_seconds": 2.0, "title": "a", "thumbnail": None, "is_live": False}
    refused = client.post("/v1/media/probe", json={"audio_url": f"{web.url}/damaged.wav"})
    assert (refused.status_code, code_of(refused)) == (400, "UNSUPPORTED_FORMAT")
    missing = client.post("/v1/media/probe", json={})
    assert (missing.status_code, code_of(missing)) == (400, "MISSING_PARAMETER")
    nowhere = client.post("/v1/media/probe", json={"audio_url": f"{web.url}/nowhere"})
    assert (nowhere.status_code, code_of(nowhere)) == (422, "URL_FAILED")
