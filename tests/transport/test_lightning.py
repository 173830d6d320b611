"""Lightning's dialect beside its document's examples: what is refused, and what a caller who leaves leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.clip import DAMAGED, PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.receiver import Receiver, running_receiver
from tests.support.running import Running

KEY = "sk-right"
LISTEN = "/v1/listen"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("lightning")
    settings = {"job_worker": "inline", "api_keys": (KEY,), "allowed_hosts": ("127.0.0.0/8",), "diarizer": "off"}
    with hosted_server(FakeRecognizer(), data_dir=folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def web() -> Iterator[Receiver]:
    with running_receiver() as web:
        web.files |= {"/a.wav": clip(), "/damaged.wav": DAMAGED}
        yield web


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Token {KEY}"}
    with httpx2.Client(base_url=server.http_url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


@pytest.mark.parametrize("scheme", ["Token", "Bearer"])
def test_either_scheme_lets_in(server: Running, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {KEY}"}
    answer = httpx2.post(server.http_url + LISTEN, headers=headers, files={"audio": ("a", clip())}, trust_env=False)
    assert answer.status_code == 200
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["duration"] == 2.0


def test_nothing_is_kept_of_an_answer(client: httpx2.Client) -> None:
    before = client.get("/v1/transcriptions").json()
    client.post(LISTEN, files={"audio": ("a.wav", clip())})
    assert client.get("/v1/transcriptions").json() == before


def test_a_callback_of_a_job_that_fails(client: httpx2.Client, web: Receiver) -> None:
    order = {"url": f"{web.url}/damaged.wav", "callback_url": f"{web.url}/done"}
    job = client.post(LISTEN, json=order).json()["job_id"]
    web.wait_for(lambda callbacks: any(callback.values["job_id"] == job for callback in callbacks))
    values = next(callback.values for callback in web.callbacks if callback.values["job_id"] == job)
    assert values["status"] == "failed"
    assert values["error"]
    assert "result" not in values


def test_a_callback_has_words_when_they_were_asked_for(client: httpx2.Client, web: Receiver) -> None:
    order = {"url": f"{web.url}/a.wav", "callback_url": f"{web.url}/done", "timestamps": True}
    job = client.post(LISTEN, json=order).json()["job_id"]
    web.wait_for(lambda callbacks: any(callback.values["job_id"] == job for callback in callbacks))
    values: Any = next(callback.values for callback in web.callbacks if callback.values["job_id"] == job)
    assert values["result"]["words"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"url": None}, 400, "MISSING_PARAMETER"),
        ({"url": 1}, 400, "INVALID_PARAMETER"),
        ({"url": "gopher://example.com/a.wav"}, 400, "URL_REFUSED"),
        ({"url": "http://192.168.0.1/a.wav"}, 400, "URL_REFUSED"),
        ({"url": "https://example.com/a.wav", "language": "klingon"}, 400, "INVALID_PARAMETER"),
        ({"url": "https://example.com/a.wav", "num_speakers": 2}, 400, "INVALID_PARAMETER"),
        ({"url": "https://example.com/a.wav", "num_speakers": 0, "diarize": True}, 400, "INVALID_PARAMETER"),
        ({"url": "https://example.com/a.wav", "num_speakers": 101, "diarize": True}, 400, "INVALID_PARAMETER"),
        ({"url": "https://example.com/a.wav", "diarize": True}, 422, "FEATURE_UNAVAILABLE"),
        ({"url": "https://example.com/a.wav", "punctuate": "maybe"}, 400, "INVALID_PARAMETER"),
        ({"url": "https://example.com/a.wav", "callback_url": "http://10.0.0.1/"}, 400, "URL_REFUSED"),
        ({"url": "https://example.com/a.wav", "callback_url": "ftp://example.com/"}, 400, "URL_REFUSED"),
        ({"url": "", "callback_url": ""}, 400, "MISSING_PARAMETER"),
        ({"url": "https://example.com/a.wav", "model": "x"}, 400, "INVALID_PARAMETER"),
    ],
)
def test_what_is_refused(client: httpx2.Client, body: dict[str, Any], status: int, code: str) -> None:
    answer = client.post(LISTEN, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"error", "code"}


@pytest.mark.parametrize("content", [b"", PICTURE, DAMAGED])
def test_files_that_are_refused(client: httpx2.Client, content: bytes) -> None:
    answer = client.post(LISTEN, files={"audio": ("a.wav", content)})
    assert (answer.status_code, answer.json()["code"]) == (400, "UNSUPPORTED_FORMAT")
    assert "wav" in answer.json()["supported_formats"]


def test_a_file_under_another_name_is_refused(client: httpx2.Client) -> None:
    answer = client.post(LISTEN, files={"sound": ("a.wav", clip())})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")


def test_a_file_and_an_address_are_too_much(client: httpx2.Client) -> None:
    answer = client.post(LISTEN, data={"url": "https://example.com/a.wav"}, files={"audio": ("a.wav", clip())})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")


def test_a_key_is_needed(server: Running) -> None:
    answer = httpx2.post(server.http_url + LISTEN, json={"url": "https://example.com/a.wav"}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")


def test_an_answer_that_takes_too_long(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"job_worker": "elsewhere", "sync_timeout": 0.1}
    with hosted_server(FakeRecognizer(), data_dir=tmp_path_factory.mktemp("slow"), **settings) as server:
        answer = httpx2.post(server.http_url + LISTEN, files={"audio": ("a.wav", clip())}, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (504, "TIMEOUT")
        assert list((server.service.settings.data_dir / "objects").iterdir()) == []


def test_too_many_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"job_worker": "elsewhere", "requests_per_minute": 1, "api_keys": (KEY,)}
    headers = {"Authorization": f"Token {KEY}"}
    with hosted_server(FakeRecognizer(), data_dir=tmp_path_factory.mktemp("many"), **settings) as server:
        first, second = (
            httpx2.post(server.http_url + LISTEN, json={}, headers=headers, trust_env=False) for _ in range(2)
        )
    assert (first.status_code, first.headers["x-ratelimit-remaining"]) == (400, "0")
    assert (second.status_code, second.json()["code"]) == (429, "RATE_LIMITED")
    assert second.json()["retry_after"] == int(second.headers["retry-after"])
