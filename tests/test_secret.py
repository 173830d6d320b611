"""No secret stands in a log, whatever level it is at and whether requests succeed or fail."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import stream_server
from stream_server.jobs.database import open_database, read_secret
from stream_server.jobs.page import _unsigned
from stream_server.keys import KeyStore
from stream_server.settings import Settings
from tests.protocol.sound import synthesize
from tests.support.clip import clip
from tests.support.process import ServerProcess, free_port
from tests.support.receiver import Receiver, running_receiver
from tests.support.speech import pcm
from tests.support.wire import TEXT, Frame, handshake, wire

SOURCE = Path(stream_server.__file__).parent
TRANSPORT = ("registry", "live", "websocket", "token", "upload", "http")

MARK = "s3cr3t"
"""In every secret of these tests; the number behind it says which one it was."""

KEY = f"{MARK}-01-key-of-the-settings"
WRONG_KEY = f"{MARK}-02-key-that-is-wrong"
SERVER_SECRET = f"{MARK}-03-secret-of-the-server"
CHAT_KEY = f"{MARK}-04-key-of-the-chat-endpoint"
CHAT_PASSWORD = f"{MARK}-05-password-of-the-chat-endpoint"
DATABASE_PASSWORD = f"{MARK}-06-password-of-the-database"
URL_PASSWORD = f"{MARK}-07-password-in-an-address"
SIGNATURE = f"{MARK}-08-signature-of-an-address"
CALLBACK_TOKEN = f"{MARK}-09-token-of-a-callback"
TOKEN = f"sst_{MARK}-10-token-that-is-wrong"
RESUME_TOKEN = f"{MARK}-11-token-that-is-wrong"
PROMPT = f"{MARK}-12-said-by-a-caller"


@pytest.fixture(scope="module")
def web() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        receiver.files["/page.html"] = b"<!doctype html><html><body>nothing to hear</body></html>"
        receiver.files[f"/page.html?signature={SIGNATURE}"] = receiver.files["/page.html"]
        receiver.files[f"/a.wav?signature={SIGNATURE}"] = clip()
        receiver.answer = lambda callback: 410
        yield receiver


class Gathered:
    """Secrets that the server itself has made up, beside those that it was given."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    def keep(self, name: str, secret: str) -> str:
        assert len(secret) > 10
        self.secrets[name] = secret
        return secret


@pytest.mark.parametrize(("form", "asks_chat"), [("text", False), ("json", True)])
def test_no_secret_in_the_log(form: str, asks_chat: bool, tmp_path: Path, web: Receiver) -> None:
    """``asks_chat``: once is enough, for it is asked again and again before a job is given up."""
    server = ServerProcess(
        tmp_path,
        log_level="debug",
        log_format=form,
        job_worker="inline",
        api_keys=KEY,
        secret=SERVER_SECRET,
        allowed_hosts="127.0.0.0/8",
        callback_attempts=1,
        chat_url=f"http://user:{CHAT_PASSWORD}@127.0.0.1:{free_port()}/v1",
        chat_model="any",
        chat_api_key=CHAT_KEY,
        init_timeout=2,
    )
    gathered = Gathered()
    try:
        settings = Settings.load({}, data_dir=tmp_path / "data", secret=SERVER_SECRET)
        database = open_database(settings)
        _, key = KeyStore(database, read_secret(settings)).create(
            "desk", scopes=("live", "transcribe"), now=time.time()
        )
        database.dispose()
        gathered.keep("key of the database", key)
        over_http(server, gathered, web, asks_chat=asks_chat)
        asyncio.run(over_sockets(server, gathered))
    finally:
        assert server.stop() == 0
    log = server.log.read_text(errors="replace")
    assert "DEBUG" in log.upper(), "nothing was logged at this level, so nothing was tested"
    assert "job completed" in log
    assert "job failed" in log
    assert "session started" in log
    assert ("chat endpoint" in log) == asks_chat
    assert [line for line in log.splitlines() if MARK in line] == []
    leaked = [name for name, secret in gathered.secrets.items() if secret in log]
    assert leaked == []
    assert len(gathered.secrets) == 4


def over_http(server: ServerProcess, gathered: Gathered, web: Receiver, *, asks_chat: bool) -> None:
    """Requests with secrets in every place that takes one, right and wrong ones."""
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=300) as client:
        client.get("/v1/models")
        for key in (KEY, WRONG_KEY, gathered.secrets["key of the database"]):
            headers = {"Authorization": f"Bearer {key}"}
            client.get("/v1/models", headers=headers)
            client.get("/nowhere", headers=headers, params={"api_key": key})
            client.post("/v1/tokens", headers=headers, json={"scope": key})
            client.post("/v1/audio/transcriptions", headers=headers, data={"model": key, "prompt": PROMPT})
            client.post("/v1/listen", headers=headers, content=b"\xff" * 1000, params={"token": key})
        right = {"Authorization": f"Bearer {gathered.secrets['key of the database']}"}
        gathered.keep("browser token", client.post("/v1/tokens", headers=right).json()["token"])
        upload = client.get("/v1/uploads/signed-url", headers=right, params={"filename": "a.wav"}).json()["upload_url"]
        gathered.keep("upload token", upload.rpartition("/")[2])
        assert client.put(upload, content=clip()).status_code == 200
        assert client.put(upload, content=clip()).status_code == 409
        client.put(f"/v1/uploads/{WRONG_KEY}.x", content=clip())
        with_password = web.url.replace("//", f"//user:{URL_PASSWORD}@")
        callback = f"{web.url}/hook?token={CALLBACK_TOKEN}"
        orders: list[dict[str, Any]] = [
            {"url": f"{web.url}/a.wav?signature={SIGNATURE}", "callback_url": callback},
            {"url": f"{web.url}/missing.wav?signature={SIGNATURE}", "callback_url": callback},
            {"url": f"{web.url}/page.html?signature={SIGNATURE}", "callback_url": callback},
            {"url": f"{with_password}/a.wav", "callback_url": callback},
            {"url": f"http://127.0.0.1:{free_port()}/?signature={SIGNATURE}", "callback_url": callback},
            {"url": f"http://nowhere.invalid/?signature={SIGNATURE}", "callback_url": with_password},
            {"url": f"ftp://user:{URL_PASSWORD}@127.0.0.1/a.wav"},
            {"url": f"s3://{MARK}-99-bucket/a.wav"},
        ]
        if asks_chat:
            wanted = {"model": "whisper-1", "language": "en", "output_language": "de"}
            client.post("/v1/audio/transcriptions", headers=right, data=wanted, files={"file": ("a.wav", clip())})
        jobs = [client.post("/v1/listen", headers=right, json=order).json() for order in orders]
        waiting = [job["job_id"] for job in jobs if "job_id" in job]
        assert len(waiting) >= 4, jobs
        states = {}
        for job in waiting:
            while True:
                answer = client.get(f"/v1/transcriptions/{job}", headers=right).json()
                states[job] = answer["status"]
                if answer["status"] in ("completed", "failed") and answer["callback"]["status"] in (
                    "failed",
                    "delivered",
                ):
                    break
                time.sleep(0.05)
        assert {"completed", "failed"} <= set(states.values()), states


async def over_sockets(server: ServerProcess, gathered: Gathered) -> None:
    """Sessions that go well, and sockets that do not."""
    token = gathered.secrets["browser token"]
    init = json.dumps({"dtype": "int16", "keyterms": [PROMPT], "api_key": KEY}).encode()
    async with wire(server.port) as connection:
        await connection.send(handshake(first=f"GET /ws?token={token} HTTP/1.1"))
        assert (await connection.answer()).status == 101
        await connection.send(Frame(TEXT, b'{"dtype":"int16"}'))
        ready = await connection.until("ready")
        gathered.keep("resume token", ready["resume_token"])
        await connection.send(Frame(2, pcm(synthesize("speech", 16_000, 16_000))))
    resume = {name: ready[name] for name in ("session_id", "resume_token")} | {"last_seq": 0, "api_key": KEY}
    wrong_resume = resume | {"resume_token": RESUME_TOKEN}
    for message in (
        json.dumps(resume).encode(),
        json.dumps(wrong_resume).encode(),
        init,
        init.replace(KEY.encode(), WRONG_KEY.encode()),
        json.dumps({"model": KEY, "api_key": 5, "dtype": KEY}).encode(),
        json.dumps({"api_key": KEY, "language": PROMPT, "dtype": PROMPT}).encode(),
        KEY.encode(),
    ):
        async with wire(server.port) as connection:
            await connection.send(handshake(), Frame(TEXT, message), Frame(TEXT, b"END"))
            assert (await connection.answer()).status == 101
            await connection.closing()
    key = f"Authorization: Bearer {KEY}"
    for head in (
        handshake(key, first="POST /ws HTTP/1.1"),
        handshake(f"Authorization: Bearer {WRONG_KEY}"),
        handshake(key, "Transfer-Encoding: chunked"),
        handshake(key, f"X-Long: {'x' * 20_000}"),
        handshake(key, f"Origin: https://user:{URL_PASSWORD}@page.example/{SIGNATURE}"),
        handshake(first=f"GET /ws?token={TOKEN} HTTP/1.1"),
        handshake(first=f"GET /nowhere?token={token} HTTP/1.1"),
        handshake(key) + Frame(7, KEY.encode()).encode(),
        handshake() + Frame(TEXT, KEY.encode() + b"\xff").encode(),
        f"GET /healthz?token={token} HTTP/1.1\r\n{key}\r\n\r\n".encode(),
        f"{KEY}\r\n\r\n".encode(),
    ):
        async with wire(server.port) as connection:
            await connection.send(head)
            await connection.answer()
            await connection.send(Frame(TEXT, init.replace(KEY.encode(), WRONG_KEY.encode())))


def test_a_start_that_fails_says_why_without_the_secrets(tmp_path: Path) -> None:
    environment = {
        "STREAM_SERVER_DATABASE_URL": f"postgresql://user:{DATABASE_PASSWORD}@127.0.0.1:{free_port()}/jobs",
        "STREAM_SERVER_DATA_DIR": str(tmp_path),
        "STREAM_SERVER_API_KEYS": KEY,
        "STREAM_SERVER_SECRET": SERVER_SECRET,
        "STREAM_SERVER_CHAT_API_KEY": CHAT_KEY,
        "STREAM_SERVER_LOG_LEVEL": "debug",
    }
    wrong: list[dict[str, str]] = [
        {},
        {"STREAM_SERVER_DATABASE_URL": f"postgresql//user:{DATABASE_PASSWORD}@host/jobs"},
        {"STREAM_SERVER_SECRETS": SERVER_SECRET},
    ]
    for change in wrong:
        done = subprocess.run(
            [sys.executable, "-m", "stream_server", "serve", "--port", str(free_port())],
            env={"PATH": "/usr/bin:/bin"} | environment | change,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "error: " in done.stderr
        assert MARK not in done.stderr + done.stdout


COMPARING = ("auth", "keys", "token", "jobs/database", "jobs/webhook", *(f"transport/{name}" for name in TRANSPORT))
SECRET_NAME = re.compile(r"(^|_)(key|token|secret|digest|mac|signature)s?$")
LOOK_UP = "keys.c.digest == digest_of(self._secret, key)"
"""The database is asked for a digest under the server's secret: how long that takes tells nothing about a key."""


def test_secrets_are_compared_in_constant_time() -> None:
    """By ``hmac.compare_digest``, never by an operator, which stops at the first difference."""
    found, constant = [], 0
    for name in COMPARING:
        tree = ast.parse((SOURCE / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and any(map(_names_a_secret, (node.left, *node.comparators))):
                if any(isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for operator in node.ops):
                    found.append(ast.unparse(node))
            elif isinstance(node, ast.Attribute) and node.attr == "compare_digest":
                constant += 1
    assert found == [LOOK_UP, "usage.c.api_key == key_id"], "the second is an id, which is no secret"
    assert constant >= 3, "keys of the settings, tokens and addresses, resume tokens"


def _names_a_secret(node: ast.expr) -> bool:
    while isinstance(node, ast.Call | ast.Await | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return SECRET_NAME.search(name) is not None


def test_settings_do_not_show_secrets() -> None:
    settings = Settings.load(
        {},
        api_keys=(KEY,),
        secret=SERVER_SECRET,
        database_url=f"postgresql://user:{DATABASE_PASSWORD}@host/jobs",
        chat_url=f"http://user:{CHAT_PASSWORD}@host/v1",
        chat_api_key=CHAT_KEY,
    )
    assert MARK not in repr(settings)
    assert MARK not in str(settings)


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("Unsupported URL: https://u:p@host:1/a?b=c", "Unsupported URL: https://host:1/..."),
        ("[generic] 'http://host/a#b' twice http://other", "[generic] 'http://host/...' twice http://other/..."),
        ("nothing to leave out", "nothing to leave out"),
    ],
)
def test_addresses_in_messages_of_others(message: str, left: str) -> None:
    assert _unsigned(message) == left


@pytest.mark.parametrize(("secret", "warned"), [("hunter2", True), ("a sentence that nobody guesses", False)])
def test_a_secret_that_can_be_guessed_is_worth_a_warning(
    secret: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_secret(Settings.load({}, secret=secret)) == secret.encode()
    assert [record.message.startswith("STREAM_SERVER_SECRET has 7 characters") for record in caplog.records] == (
        [True] if warned else []
    )
    assert secret not in caplog.text
