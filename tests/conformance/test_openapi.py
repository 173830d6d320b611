"""What ``/openapi.json`` promises is what the server does, whatever it is sent; and it says all there is to say.

Left out: the WebSocket, which is no operation of the document; and the check that whatever fits the schema is taken,
for the schema cannot say that a file holds speech, or that a name is that of a language.
"""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import ignored_auth

from stream_server import __version__
from stream_server.app import create_app
from stream_server.jobs.database import open_database, read_secret
from stream_server.keys import KeyStore
from stream_server.settings import Settings
from tests.support.clip import DAMAGED, PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.running import Running

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

KEY: Final = "sk-all"
BEARER: Final = {"Authorization": f"Bearer {KEY}"}
PAUSE_SEC: Final = 0.02

SURFACES: Final = ("/v1/transcription-jobs", "/v1/transcriptions", "/asr2", "/translate")
PUBLIC: Final = {"GET /healthz", "GET /readyz", "GET /metrics", "GET /health", "PUT /v1/uploads/{token}"}
"""What needs no key; the address of an upload is one itself."""

ERRORS: Final = ("400", "401", "403", "422", "429", "500", "503")

BOUNDED: Final = settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

files = st.sampled_from((clip(), clip(0.2, kind="FLAC"), DAMAGED, PICTURE, b""))
schemathesis.openapi.format("binary", files)
for media_type in ("audio/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, files)

DOCUMENT: Final[dict[str, Any]] = create_app(
    Settings.load({}, data_dir=Path("does-not-exist"), job_worker="off"), FakeRecognizer()
).openapi()
OPERATIONS: Final = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def read(document: dict[str, Any]) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_dict(copy.deepcopy(document))
    schema.config.checks.update(excluded_check_names=["positive_data_acceptance"])
    return schema


def without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """The document as it reads where everyone is let in."""
    document = copy.deepcopy(document)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return document


SCHEMA: Final = read(DOCUMENT)
OPEN: Final = read(without_keys(DOCUMENT))
OPEN.config.phases.update(phases=["fuzzing"])
OPEN.config.checks.not_a_server_error.expected_statuses = ["2xx", "4xx", "504"]
WORKFLOW: Final = read(DOCUMENT)
WORKFLOW.config.generation.update(with_security_parameters=False)
WORKFLOW.config.checks.update(excluded_check_names=["positive_data_acceptance", "negative_data_rejection"])


@pytest.fixture(scope="module")
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, recognizer: FakeRecognizer) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("openapi")
    with hosted_server(recognizer, data_dir=folder, job_worker="inline", api_keys=(KEY,)) as running:
        yield running


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Without keys, and without a worker: a process can have one only. Who waits is told that it takes too long."""
    folder = tmp_path_factory.mktemp("open")
    with hosted_server(FakeRecognizer(), data_dir=folder, job_worker="elsewhere", sync_timeout=0.05) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.http_url, headers=BEARER, trust_env=False, timeout=60) as client:
        yield client


def test_the_document_is_the_one_that_is_served(client: httpx2.Client) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT


@SCHEMA.parametrize()
@BOUNDED
def test_whatever_is_sent(case: schemathesis.Case, server: Running) -> None:
    case.call_and_validate(server.http_url, headers=BEARER)


@OPEN.parametrize()
@settings(BOUNDED, max_examples=5)
def test_where_no_key_is_asked_for(case: schemathesis.Case, open_server: Running) -> None:
    case.call_and_validate(open_server.http_url)


def test_a_key_that_is_for_something_else(server: Running) -> None:
    database = open_database(server.service.settings)
    _, live = KeyStore(database, read_secret(server.service.settings)).create("live", scopes=("live",), now=time.time())
    database.dispose()
    refused = set()
    for found in SCHEMA.get_all_operations():
        operation = found.ok()
        if OPERATIONS[operation.label].get("security"):
            case = operation.Case(path_parameters={"job_id": "1", "model": "1"}, media_type="application/json", body={})
            answer = case.call(server.http_url, headers={"Authorization": f"Bearer {live}"})
            case.validate_response(answer, excluded_checks=[ignored_auth])
            if answer.status_code == 403:
                refused.add(operation.label)
    allowed = {"GET /v1/models", "GET /v1/models/{model}", "POST /v1/tokens"}
    assert refused == {label for label, operation in OPERATIONS.items() if operation.get("security")} - allowed


MAKING: Final[dict[str, dict[str, Any]]] = {
    "POST /v1/transcription-jobs": {
        "body": {"file": clip(), "model": "whisper-1"},
        "media_type": "multipart/form-data",
    },
    "POST /v1/transcriptions": {"body": {"file": clip()}, "media_type": "multipart/form-data"},
    "POST /v1/transcriptions/batch": {"body": {"files": [clip(), clip()]}, "media_type": "multipart/form-data"},
    "POST /asr2": {"body": clip(), "media_type": "application/octet-stream"},
    "POST /translate": {"body": clip(), "media_type": "application/octet-stream", "query": {"target_langs": "en"}},
}
"""How jobs are made, where it succeeds."""


@pytest.mark.parametrize(
    "paths", ["^/v1/transcription-jobs", "^/v1/transcriptions", "^/asr2|^/v3/asr", "^/translate|^/v3/translate"]
)
def test_what_follows_from_what(paths: str, server: Running, client: httpx2.Client) -> None:
    """Jobs are made, and what the document says can be done with them is done, in any order: with every second one when
    it is finished, with the others at once."""
    done = []

    class Workflow(WORKFLOW.include(path_regex=paths).as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: schemathesis.Case) -> None:
            for name, value in MAKING.get(case.operation.label, {}).items():
                setattr(case, name, value)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": server.http_url, "headers": BEARER}

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case) -> None:
            if response.status_code not in (200, 202, 409):  # 409: a job that was done sooner than it was cancelled
                return
            done.append(case.operation.label)
            if case.operation.label in MAKING and response.status_code != 409 and done.count(case.operation.label) % 2:
                values = response.json()
                wait_for(client, [values.get("id") or values["job_id"]], "completed")

    Workflow.run(settings=settings(BOUNDED, max_examples=7, stateful_step_count=6))
    assert set(done) == {label for label in OPERATIONS if re.match(paths, label.partition(" ")[2])}


def made(client: httpx2.Client, content: bytes, path: str) -> str:
    """A job of this surface."""
    match path:
        case "/asr2":
            return str(client.post(path, content=content).json()["job_id"])
        case "/translate":
            return str(client.post(path, content=content, params={"target_langs": "en"}).json()["job_id"])
        case _:
            files = {"file": ("a.wav", content)}
            data = {"model": "whisper-1"} if path.endswith("jobs") else {}
            return str(client.post(path, files=files, data=data).json()["id"])


def wait_for(client: httpx2.Client, jobs: Sequence[str], state: str) -> None:
    while {client.get(f"/v1/transcriptions/{job}").json()["status"] for job in jobs} != {state}:
        time.sleep(PAUSE_SEC)


@pytest.fixture
def jobs(client: httpx2.Client, recognizer: FakeRecognizer) -> Iterator[dict[str, list[str]]]:
    """Jobs by their state, of every surface in each."""
    found = {
        "completed": [made(client, clip(), path) for path in SURFACES],
        "failed": [made(client, DAMAGED, path) for path in SURFACES],
    }
    for state, ids in found.items():
        wait_for(client, ids, state)
    recognizer.gate = threading.Event()
    try:
        found["processing"] = [made(client, clip(), path) for path in SURFACES[:2]]  # a worker does two at a time
        wait_for(client, found["processing"], "processing")
        found["queued"] = [made(client, clip(), path) for path in SURFACES]
        found["cancelled"] = [made(client, clip(), path) for path in SURFACES]
        for job in found["cancelled"]:
            assert client.post(f"/v1/transcriptions/{job}/cancel").status_code == 200
        batch = client.post("/v1/transcriptions/batch", files=[("files", clip()), ("files", DAMAGED)]).json()
        found["queued"].append(batch["id"])
        yield found
    finally:
        recognizer.gate.set()


def test_a_job_in_any_state(server: Running, client: httpx2.Client, jobs: dict[str, list[str]]) -> None:
    """Whatever is asked of a job, of whichever surface it is, is answered as the document says."""
    seen: dict[str, set[int]] = {}
    operations = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}

    def ask(label: str) -> None:
        for job in (job for ids in jobs.values() for job in ids):
            case = operations[label].Case(path_parameters={"job_id": job})
            answer = case.call(server.http_url, headers=BEARER)
            case.validate_response(answer)
            seen.setdefault(label, set()).add(answer.status_code)

    reading = [label for label in operations if "{job_id}" in label and label.startswith("GET")]
    for label in (*reading, "POST /v1/transcription-jobs/{job_id}/cancel", "POST /v1/transcriptions/{job_id}/cancel"):
        ask(label)
    ask("DELETE /v1/transcriptions/{job_id}")
    for label in reading:
        ask(label)
    assert seen == {
        "GET /v1/transcription-jobs/{job_id}": {200, 404},
        "GET /v1/transcription-jobs/{job_id}/result": {200, 400, 404, 409},
        "POST /v1/transcription-jobs/{job_id}/cancel": {200, 409},
        "GET /v1/transcriptions/{job_id}": {200, 404},
        "POST /v1/transcriptions/{job_id}/cancel": {409},
        "DELETE /v1/transcriptions/{job_id}": {200},
        "GET /v3/asr/jobs/{job_id}": {200, 404},
        "GET /v3/asr/jobs/{job_id}/result": {200, 400, 404, 409},
        "GET /v3/translate/jobs/{job_id}": {200, 404},
        "GET /v3/translate/jobs/{job_id}/result": {200, 400, 404, 409},
    }


def test_what_is_not_in_the_document_is_noticed(server: Running) -> None:
    document = copy.deepcopy(DOCUMENT)
    del document["paths"]["/v1/transcriptions/{job_id}"]["get"]["responses"]["404"]
    operation = read(document)["/v1/transcriptions/{job_id}"]["GET"]
    with pytest.raises(FailureGroup, match="Undocumented status code"):
        operation.Case(path_parameters={"job_id": "1"}).call_and_validate(server.http_url, headers=BEARER)


def test_paths_and_methods_that_there_are_not(client: httpx2.Client) -> None:
    missing = client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    for method in ("HEAD", "OPTIONS", "PATCH", "PUT"):
        wrong = client.request(method, "/v1/transcriptions/1")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "DELETE, GET")
        assert method == "HEAD" or wrong.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert client.post("/v1/transcriptions/").status_code == 404, "a redirect would lose the body"


def test_the_document_as_a_whole() -> None:
    assert DOCUMENT["info"]["title"] == "Stream Server"
    assert DOCUMENT["info"]["version"] == __version__
    assert "X-Request-Id" in DOCUMENT["info"]["description"]
    assert DOCUMENT["servers"][0]["url"] == "/"
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert set(tags) == {tag for operation in OPERATIONS.values() for tag in operation["tags"]}
    assert all(tags.values())
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


@pytest.mark.parametrize("label", OPERATIONS)
def test_an_operation_is_documented(label: str) -> None:
    operation = OPERATIONS[label]
    assert len(operation["tags"]) == 1
    name = operation["operationId"].partition("_")[2]
    assert operation["summary"] not in ("", name.replace("_", " ").title()), "the framework made it up"
    assert operation["description"]
    parameters = operation.get("parameters", ())
    assert [parameter["name"] for parameter in parameters if not parameter.get("description")] == []
    for status, answer in operation["responses"].items():
        assert answer["description"] not in ("", "Successful Response"), status
        assert answer["content"], status
    if "{" in label or "requestBody" in operation or operation.get("security"):
        for status in ERRORS:
            body = operation["responses"][status]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert body.endswith(("ErrorBody", "Problem", "Detail")), (status, body)
    for link in (link for answer in operation["responses"].values() for link in answer.get("links", {}).values()):
        assert link["operationId"] in {operation["operationId"] for operation in OPERATIONS.values()}
    assert bool(operation.get("security")) == (label not in PUBLIC)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "requestBody" in OPERATIONS[label]])
def test_a_body_is_documented(label: str) -> None:
    body = OPERATIONS[label]["requestBody"]
    assert body["description"]
    for media_type, content in body["content"].items():
        schema = content["schema"]
        fields = schema.get("properties", {})
        assert [name for name, field in fields.items() if not field.get("description")] == []
        for field in (fields[name] for name in ("file", "files", "audio") if name in fields):
            binary = field.get("items", field)
            assert (binary["type"], binary["format"]) == ("string", "binary")
        if media_type in ("multipart/form-data", "application/json"):
            assert schema["additionalProperties"] is False
        else:
            assert (schema["type"], schema["format"]) == ("string", "binary")


def test_events_are_documented() -> None:
    answer = OPERATIONS["POST /v1/audio/transcriptions"]["responses"]["200"]["content"]["text/event-stream"]
    assert "transcript.text.done" in answer["schema"]["description"]
