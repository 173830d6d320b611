"""Signed uploads: who may use an address, for what, and how often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.clip import PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import client_of, hosted_server
from tests.support.running import Running

KEY, OTHER = "sk-one", "sk-two"
JOBS = "/v1/transcriptions"
MOST = 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("upload")
    settings = {"job_worker": "inline", "api_keys": (KEY, OTHER), "max_upload_bytes": MOST}
    with hosted_server(FakeRecognizer(), data_dir=folder, **settings) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with client_of(server, KEY) as client:
        yield client


def address(client: httpx2.Client, **query: str) -> dict[str, str]:
    answer = client.get("/v1/uploads/signed-url", params={"filename": "a.wav", **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def put(url: str, content: bytes, **headers: str) -> httpx2.Response:
    """As somebody without a key."""
    return httpx2.put(url, content=content, headers=headers, trust_env=False)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"error", "request_id"}
    return answer.status_code, body["error"]["code"]


def test_upload_and_transcribe(client: httpx2.Client) -> None:
    signed = address(client, filename="räd & blau/1.wav")
    sound = clip()
    answer = put(signed["upload_url"], sound)
    assert answer.json() == {"file_id": signed["file_id"], "size": len(sound), "format": "wav"}
    assert signed["file_url"] == f"upload://{signed['file_id']}/r%C3%A4d%20%26%20blau%2F1.wav"
    done = client.post(JOBS, json={"audio_url": signed["file_url"], "mode": "sync"}).json()
    assert (done["status"], done["duration_seconds"]) == ("completed", 2.0)


@pytest.mark.parametrize("form", ["lesan://{0}", "upload://{0}", "lesan://{0}/other.wav"])
def test_other_ways_to_name_it(client: httpx2.Client, form: str) -> None:
    signed = address(client)
    put(signed["upload_url"], clip())
    batch = client.post(f"{JOBS}/batch", json={"audio_urls": [form.format(signed["file_id"])]})
    assert batch.status_code == 202
    found = client.get(batch.json()["url"]).json()
    assert found["metadata"]["jobs"][0]["url"] == form.format(signed["file_id"])


FORM = {"model": "whisper-1"}
ELSEWHERE = {"/v1/audio/transcriptions": FORM, "/v1/listen": {}, "/v1/transcription-jobs": FORM}


@pytest.mark.parametrize(("path", "values"), ELSEWHERE.items())
def test_other_dialects_take_it_as_an_address(
    server: Running, client: httpx2.Client, path: str, values: dict[str, str]
) -> None:
    signed = address(client)
    order = values | {"url": signed["file_url"]}
    early = client.post(path, json=order)
    assert (early.status_code, "NOT_FOUND" in early.text) == (404, True)
    put(signed["upload_url"], clip())
    with client_of(server, OTHER) as stranger:
        assert stranger.post(path, json=order).status_code == 404
    made = client.post(path, json=order)
    assert made.status_code in (200, 202), made.text
    found = made.json()
    while found.get("status") in ("queued", "processing"):
        found = client.get(found["url"]).json()
    assert (found.get("result") or found)["text"].startswith("alpha bravo")
    again = client.post(path, json=order)
    assert (again.status_code, "NOT_FOUND" in again.text) == (404, True)


@pytest.mark.parametrize(("path", "values"), ELSEWHERE.items())
def test_addresses_of_uploads_that_were_not_made_here(client: httpx2.Client, path: str, values: dict[str, str]) -> None:
    answer = client.post(path, json=values | {"url": "upload://file_1"})
    assert (answer.status_code, "/v1/uploads/signed-url" in answer.text) == (400, True)
    if path != "/v1/listen":  # which names no parameters
        assert answer.json()["error"]["param"] == "url"


def test_it_is_good_once(client: httpx2.Client) -> None:
    signed = address(client)
    assert put(signed["upload_url"], clip()).status_code == 200
    assert refusal(put(signed["upload_url"], clip())) == (409, "CONFLICT")
    order = {"audio_url": signed["file_url"]}
    assert client.post(JOBS, json=order).status_code == 202
    assert refusal(client.post(JOBS, json=order)) == (404, "NOT_FOUND")


def test_nothing_has_been_uploaded(client: httpx2.Client) -> None:
    signed = address(client)
    assert refusal(client.post(JOBS, json={"audio_url": signed["file_url"]})) == (404, "NOT_FOUND")
    assert refusal(client.post("/v1/media/probe", json={"audio_url": signed["file_url"]})) == (404, "NOT_FOUND")


def test_only_the_key_that_asked_may_use_it(server: Running, client: httpx2.Client) -> None:
    signed = address(client)
    put(signed["upload_url"], clip())
    order = {"audio_url": signed["file_url"]}
    with client_of(server, OTHER) as stranger:
        assert refusal(stranger.post(JOBS, json=order)) == (404, "NOT_FOUND")
        assert refusal(stranger.post("/v1/media/probe", json=order)) == (404, "NOT_FOUND")
    found = client.post("/v1/media/probe", json=order).json()
    assert (found["duration_seconds"], found["title"]) == (2.0, "a")


def test_what_fails_can_be_tried_again(client: httpx2.Client) -> None:
    signed = address(client)
    assert refusal(put(signed["upload_url"], PICTURE)) == (400, "UNSUPPORTED_FORMAT")
    assert refusal(put(signed["upload_url"], b"")) == (400, "UNSUPPORTED_FORMAT")
    assert refusal(put(signed["upload_url"], b"RIFF0000WAVE" + bytes(MOST))) == (413, "FILE_TOO_LARGE")
    assert put(signed["upload_url"], clip()).status_code == 200


def test_the_content_type_it_was_signed_for(client: httpx2.Client) -> None:
    url = address(client, content_type="audio/wav")["upload_url"]
    assert refusal(put(url, clip(), **{"Content-Type": "audio/mpeg"})) == (400, "INVALID_PARAMETER")
    assert refusal(put(url, clip())) == (400, "INVALID_PARAMETER")
    assert put(url, clip(), **{"Content-Type": "Audio/WAV; codecs=1"}).status_code == 200


@pytest.mark.parametrize("asked", ["audio/wav;codecs=1", 'audio/wav; codecs="1, vp8"'])
def test_parameters_of_the_content_type_do_not_count(client: httpx2.Client, asked: str) -> None:
    url = address(client, content_type=asked)["upload_url"]
    assert refusal(put(url, clip(), **{"Content-Type": "audio/webm;codecs=1"})) == (400, "INVALID_PARAMETER")
    assert put(url, clip(), **{"Content-Type": asked.replace(" ", "")}).status_code == 200


PAGE = {"Origin": "https://page.example"}


def test_a_page_of_another_origin_may_use_an_address(client: httpx2.Client) -> None:
    url = address(client)["upload_url"]
    asks = PAGE | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    allowed = httpx2.options(url, headers=asks, trust_env=False)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in allowed.headers["Access-Control-Allow-Methods"]
    assert "content-type" in allowed.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    for content, status in ((PICTURE, 400), (clip(), 200), (clip(), 409)):
        answer = put(url, content, **PAGE)
        assert (answer.status_code, answer.headers.get("Access-Control-Allow-Origin")) == (status, "*")


def test_nothing_else_is_for_pages_of_other_origins(client: httpx2.Client) -> None:
    asks = PAGE | {"Access-Control-Request-Method": "GET"}
    for answer in (
        client.get("/v1/uploads/signed-url", params={"filename": "a.wav"}, headers=PAGE),
        client.options("/v1/uploads/signed-url", headers=asks),
        client.get("/v1/models", headers=PAGE),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_addresses_that_are_not_ours(server: Running, client: httpx2.Client) -> None:
    url = address(client)["upload_url"]
    expired = server.service.uploads.sign("0" * 32 + " * key", int(time.time()) - 1)
    head, _, tail = url.rpartition(".")
    for wrong in (f"{head}.AAAA{tail}", url + "xxxx", url.rsplit("/", 1)[0] + "/%00"):
        assert refusal(put(wrong, clip())) == (403, "FORBIDDEN")
    assert refusal(put(f"{server.http_url}/v1/uploads/{expired}", clip())) == (403, "FORBIDDEN")
    assert put(url, clip()).status_code == 200


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "MISSING_PARAMETER"),
        ({"filename": ""}, "MISSING_PARAMETER"),
        ({"filename": "x" * 256}, "INVALID_PARAMETER"),
        ({"filename": "a.wav", "content_type": "a b/c"}, "INVALID_PARAMETER"),
        ({"filename": "a.wav", "content_type": "audio/wav; rate"}, "INVALID_PARAMETER"),
        ({"filename": "a.wav", "contenttype": "audio/wav"}, "INVALID_PARAMETER"),
    ],
)
def test_what_is_refused(client: httpx2.Client, query: dict[str, str], code: str) -> None:
    assert refusal(client.get("/v1/uploads/signed-url", params=query)) == (400, code)


def test_a_wrong_media_type_is_told_what_is_right(client: httpx2.Client) -> None:
    answer = client.get("/v1/uploads/signed-url", params={"filename": "a.wav", "content_type": "wav"})
    assert answer.json()["error"]["message"] == (
        "content_type: has to be a media type, such as audio/wav or audio/webm;codecs=opus"
    )


def test_where_nobody_can_say_what_a_host_is_called(client: httpx2.Client) -> None:
    answer = client.get("/v1/uploads/signed-url?filename=a", headers={"Host": "[not a host"})
    assert answer.status_code in (200, 400)


def test_nothing_stays_of_uploads_that_nobody_wants(tmp_path: Path) -> None:
    settings = {"job_worker": "elsewhere", "upload_expiry": 0.001}
    with hosted_server(FakeRecognizer(), data_dir=tmp_path, **settings) as server:
        signed = httpx2.get(f"{server.http_url}/v1/uploads/signed-url?filename=a", trust_env=False).json()
        assert refusal(put(signed["upload_url"], clip()))[0] in (403, 404)
        assert server.service.transcriptions is not None
        assert server.service.transcriptions.objects.collect(()) == 1
    assert list((tmp_path / "objects").iterdir()) == []
