"""Callbacks: what they say, how they are signed, and when they are tried again."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook, WebhookVerificationError

from stream_protocol.transcript import Segment, Transcript, Word
from stream_server.jobs import webhook
from stream_server.jobs.database import open_database, read_secret, writing
from stream_server.jobs.error import Reason
from stream_server.jobs.job import Failure, Job, JobState, Source, TranscriptionOptions, new_job
from stream_server.jobs.result import JobResult
from stream_server.jobs.table import deliveries
from stream_server.jobs.webhook import Deliverer, backoff, callback_body, webhook_secret
from stream_server.settings import Settings

LOCAL = ("127.0.0.0/8",)
RESULT = JobResult(Transcript((Segment("Hello.", 0, 500, 0.9, (Word("Hello.", 0, 500, 0.9),)),), "en", 800))


BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgres"], indirect=True)
"""For tests of what databases may do differently; the others are content with one."""


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    is_postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres").new_database() if is_postgres else ""
    return Settings.load({}, data_dir=tmp_path, database_url=url)


@dataclass
class Listener:
    """Takes callbacks, and answers with ``status`` and ``headers``; ``hangs`` answers when it is set."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: threading.Event | None = None
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listening.got.append((self.path, dict(self.headers.items()), body))
            if listening.hangs is not None:
                listening.hangs.wait(30)
            with suppress(ConnectionError):
                self.send_response(listening.status)
                for name, value in listening.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(listening.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listening.url = f"http://127.0.0.1:{server.server_address[1]}/hook?job=1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield listening
    if listening.hangs is not None:
        listening.hangs.set()
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Post:
    """A database with callbacks in it, and who delivers them."""

    settings: Settings
    engine: sa.Engine

    @property
    def deliverer(self) -> Deliverer:
        return Deliverer(self.settings, self.engine)

    def add(self, url: str, body: bytes = b'{"job_id":"j"}', *, key: str = "key_1") -> None:
        with writing(self.engine) as connection:
            connection.execute(
                deliveries.insert().values(
                    id="d1",
                    job="j1",
                    api_key=key,
                    url=url,
                    body=body,
                    state="pending",
                    next_attempt_at=1.0,
                    created_at=1.0,
                )
            )

    @property
    def row(self) -> dict[str, Any]:
        with self.engine.connect() as connection:
            return dict(connection.execute(sa.select(deliveries)).mappings().one())

    @property
    def standing(self) -> tuple[str, int, int | None]:
        row = self.row
        return row["state"], row["attempts"], row["last_status"]


@pytest.fixture
def post(settings: Settings, database: sa.Engine) -> Post:
    return Post(settings.model_copy(update={"allowed_hosts": LOCAL, "callback_attempts": 3}), database)


def verified(post: Post, got: tuple[str, dict[str, str], bytes], key: str = "key_1") -> Any:
    _, headers, body = got
    return Webhook(webhook_secret(read_secret(post.settings), key)).verify(body, headers)


def ended(state: JobState, failure: Failure | None = None, **changes: Any) -> Job:
    job = new_job("key_1", Source(url="http://example.com/a.wav"), TranscriptionOptions(), "lightning", "request")
    return replace(job, state=state, failure=failure, **changes)


@BOTH
def test_a_callback_is_signed_and_delivered(post: Post, listener: Listener) -> None:
    post.add(listener.url, '{"text":"für wahr"}'.encode())
    assert post.deliverer.attempt("d1", 0) is None
    (got,) = listener.got
    assert verified(post, got) == {"text": "für wahr"}
    path, headers, _ = got
    assert path == "/hook?job=1"
    assert (headers["webhook-id"], headers["Content-Type"]) == ("d1", "application/json")
    with pytest.raises(WebhookVerificationError):
        verified(post, got, key="key_2")
    with pytest.raises(WebhookVerificationError):
        verified(post, (path, headers, b'{"text":"changed"}'))
    assert post.standing == ("delivered", 1, 200)
    assert post.row["last_error"] is post.row["next_attempt_at"] is None
    assert post.deliverer.attempt("d1", 1) is None
    assert len(listener.got) == 1


@BOTH
def test_it_is_tried_again_with_the_same_id_until_enough(post: Post, listener: Listener) -> None:
    listener.status = 500
    post.add(listener.url)
    first = post.deliverer.attempt("d1", 0)
    assert first is not None
    assert 2.5 <= first[0] <= 5
    assert first[1] == 1
    assert post.standing == ("pending", 1, 500)
    assert post.row["last_error"] == "HTTP 500"
    assert post.row["next_attempt_at"] > time.time()
    second = post.deliverer.attempt("d1", 1)
    assert second is not None
    assert 10 <= second[0] <= 20
    assert post.deliverer.attempt("d1", 2) is None
    assert post.standing == ("failed", 3, 500)
    assert post.row["next_attempt_at"] is None
    assert {headers["webhook-id"] for _, headers, _ in listener.got} == {"d1"}
    for got in listener.got:
        verified(post, got)


@BOTH
def test_a_try_that_was_made_is_not_made_again(post: Post, listener: Listener) -> None:
    """Whoever made it may have died before he could see to the next."""
    listener.status = 500
    post.add(listener.url)
    first = post.deliverer.attempt("d1", 0)
    again = post.deliverer.attempt("d1", 0)
    assert len(listener.got) == 1
    assert first is not None
    assert again is not None
    assert again[1] == first[1]
    assert 0 <= again[0] <= first[0]
    with writing(post.engine) as connection:
        connection.execute(deliveries.update().values(next_attempt_at=1.0))
    assert post.deliverer.attempt("d1", 0) == (0.0, 1)


def test_gone_is_for_good(post: Post, listener: Listener) -> None:
    listener.status = 410
    post.add(listener.url)
    assert post.deliverer.attempt("d1", 0) is None
    assert post.standing == ("failed", 1, 410)


@pytest.mark.parametrize(
    ("status", "value", "least", "most"),
    [
        (429, "120", 120, 120),
        (503, "120", 120, 120),
        (503, "1", 2.5, 5),
        (429, "999999", 3600, 3600),
        (429, "9" * 400, 3600, 3600),
        (429, "soon", 2.5, 5),
        (429, "-5", 2.5, 5),
        (500, "120", 2.5, 5),
        (429, formatdate(time.time() - 500, usegmt=True), 2.5, 5),
        (429, formatdate(4_000_000_000, usegmt=True), 3600, 3600),
    ],
)
def test_the_other_side_says_when(
    post: Post, listener: Listener, status: int, value: str, least: float, most: float
) -> None:
    listener.status, listener.headers = status, {"Retry-After": value}
    post.add(listener.url)
    again = post.deliverer.attempt("d1", 0)
    assert again is not None
    assert least <= again[0] <= most


def test_redirects_are_not_followed(post: Post, listener: Listener) -> None:
    listener.status, listener.headers = 307, {"Location": listener.url}
    post.add(listener.url)
    assert post.deliverer.attempt("d1", 0) is not None
    assert len(listener.got) == 1
    assert "redirects are not followed" in post.row["last_error"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "http://169.254.169.254/latest",
        "ftp://example.com/x",
        "http://u:p@127.0.0.1/",
        "http://127.0.0.1:99999/x",
    ],
)
def test_a_private_address_is_refused_for_good(post: Post, url: str) -> None:
    post.settings = post.settings.model_copy(update={"allowed_hosts": ()})
    post.add(url)
    assert post.deliverer.attempt("d1", 0) is None
    assert post.standing == ("failed", 1, None)
    assert post.row["last_error"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "https://127.0.0.1:9/x"])
def test_nobody_there(post: Post, url: str) -> None:
    post.add(url)
    assert post.deliverer.attempt("d1", 0) is not None
    assert post.standing == ("pending", 1, None)
    assert post.row["last_error"]


def test_who_does_not_answer_is_given_up(post: Post, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TRY_SEC", 0.2)
    listener.hangs = threading.Event()
    post.add(listener.url)
    assert post.deliverer.attempt("d1", 0) is not None
    assert post.standing == ("pending", 1, None)


@pytest.mark.parametrize(("status", "state"), [(200, "delivered"), (500, "pending")])
def test_only_the_status_counts(post: Post, listener: Listener, status: int, state: str) -> None:
    listener.status, listener.headers = status, {"Content-Length": "1000000000"}
    listener.body = b"x" * 200_000
    post.add(listener.url)
    post.deliverer.attempt("d1", 0)
    assert post.standing == (state, 1, status)


def test_a_fault_of_ours_costs_one_try(
    post: Post, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(webhook, "guarded_async_client", broken)
    post.add("http://example.com/")
    assert post.deliverer.attempt("d1", 0) is not None
    assert post.standing == ("pending", 1, None)
    assert "ZeroDivisionError" in caplog.text


def test_one_that_has_been_deleted_is_over(post: Post) -> None:
    assert post.deliverer.attempt("d1", 0) is None


def test_the_address_and_the_secret_are_not_logged(
    post: Post, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    post.add(listener.url)
    with caplog.at_level(logging.INFO, logger="stream_server"):
        post.deliverer.attempt("d1", 0)
    assert "callback d1 of job j1, try 1: delivered" in caplog.text
    assert "/hook" not in caplog.text
    assert "whsec" not in caplog.text


def test_pauses_grow_to_an_hour() -> None:
    for attempts, most in enumerate((5, 20, 80, 320, 1280, 3600, 3600, 3600), start=1):
        pauses = {backoff(attempts) for _ in range(50)}
        assert len(pauses) > 1
        assert all(most / 2 <= pause <= most for pause in pauses)
    assert backoff(100) <= 3600


def test_every_key_has_a_secret_of_its_own() -> None:
    secrets = {webhook_secret(secret, key) for secret in (b"one", b"two") for key in ("", "key_1", "key_2")}
    assert len(secrets) == 6
    assert all(secret.startswith("whsec_") for secret in secrets)
    assert webhook_secret(b"one", "key_1") == webhook_secret(b"one", "key_1")


def test_what_is_told_of_a_job_that_is_done() -> None:
    job = ended(JobState.COMPLETED)
    told = json.loads(callback_body(job, RESULT))
    assert (told["job_id"], told["status"]) == (job.id, "completed")
    assert told["result"] == {
        "request_id": "request",
        "text": "Hello.",
        "confidence": 0.9,
        "duration": 0.8,
        "language": "en",
    }


@pytest.mark.parametrize(
    ("surface", "output", "words"),
    [
        ("lightning", "json", None),
        ("lightning", "words", ["Hello"]),
        ("lightning", "words_and_marks", ["Hello", "."]),
        ("audiotext", "json", ["Hello"]),
    ],
)
def test_words_are_told_to_who_has_asked(surface: str, output: str, words: list[str] | None) -> None:
    job = ended(JobState.COMPLETED, surface=surface, options=TranscriptionOptions(output=output))
    told = json.loads(callback_body(job, RESULT))["result"].get("words")
    assert (told and [word["word"] for word in told]) == words


def test_what_is_told_of_a_job_that_has_failed_and_of_a_batch() -> None:
    failed = ended(JobState.FAILED, Failure(Reason.URL_FAILED, "no answer"))
    assert json.loads(callback_body(failed, None)) == {
        "job_id": failed.id,
        "status": "failed",
        "error": "no answer",
        "code": "URL_FAILED",
    }
    batch = ended(JobState.COMPLETED, kind="batch", source=None)
    assert json.loads(callback_body(batch, None)) == {"job_id": batch.id, "status": "completed"}


def test_what_is_told_of_a_job_that_is_done_but_for_its_translation() -> None:
    job = ended(JobState.COMPLETED, Failure(Reason.SERVICE_UNAVAILABLE, "translation to de: nobody answers"))
    told = json.loads(callback_body(job, RESULT))
    assert (told["status"], told["result"]["text"]) == ("completed", "Hello.")
    assert (told["error"], told["code"]) == ("translation to de: nobody answers", "SERVICE_UNAVAILABLE")


def test_a_secret_of_the_settings_signs(tmp_path: Path, listener: Listener) -> None:
    settings = Settings.load({}, data_dir=tmp_path, secret="of the settings", allowed_hosts=LOCAL)
    engine = open_database(settings)
    post = Post(settings, engine)
    post.add(listener.url, key="")
    post.deliverer.attempt("d1", 0)
    engine.dispose()
    _, headers, body = listener.got[0]
    Webhook(webhook_secret(b"of the settings", "")).verify(body, headers)
