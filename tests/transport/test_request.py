"""The id that a caller sees in an error finds what the log says about it, in a server's own process and output."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from stream_server.engine.moonshine.asset import find_recording
from stream_server.jobs.service import Transcriptions
from stream_server.log import configure_logging, context_of, log_context
from stream_server.transport.registry import Registry
from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.process import ServerProcess
from tests.support.running import Running, running_server
from tests.support.site import HERE, running_site
from tests.support.speech import pcm

VOICE = pcm(synthesize("speech", 16_000, 16_000))
INT16 = {"dtype": "int16"}


@pytest.fixture
def records() -> Iterator[Any]:
    """What was logged, as machines read it; a function, for it is asked afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("uvicorn", "dbos", "httpx2", "httpcore2")}
    configure_logging("info", "json")
    written = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in written.getvalue().splitlines()]

    yield read
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, kept in levels.items():
        logging.getLogger(name).setLevel(kept)


def client_of(server: Running) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.http_url, trust_env=False, timeout=60)


async def test_a_refused_request_is_found_by_its_id(records: Any) -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-very-private",)) as server, client_of(server) as client:
        answers = [
            await client.get("/v1/models", headers={"Authorization": "Bearer sk-also-private"}),
            await client.get("/nowhere/upload-token-private"),
            await client.post("/v1/audio/transcriptions?token=private"),
        ]
    found = {record.get("request_id"): record for record in records()}
    for answer in answers:
        record = found[answer.headers["x-request-id"]]
        assert record["status"] == answer.status_code
        assert record["code"]
    assert found[answers[1].headers["x-request-id"]]["route"] == "none"
    assert "private" not in json.dumps(list(found.values()), default=str)


async def test_what_nobody_catches_is_an_answer_with_an_id(records: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Registry) -> int:
        raise RuntimeError("a fault of ours")

    async with running_server(FakeRecognizer()) as server, client_of(server) as client:
        monkeypatch.setattr(Registry, "detached", property(broken))
        answer = await client.get("/metrics")
        monkeypatch.undo()
        metrics = (await client.get("/metrics")).text
    assert answer.status_code == 500
    request_id = answer.headers["x-request-id"]
    assert request_id in answer.json()["error"]["message"]
    mine = [record for record in records() if record.get("request_id") == request_id]
    assert [record["event"] for record in mine] == ["the request failed", "request refused"]
    assert mine[0]["exception"][0]["exc_value"] == "a fault of ours"
    assert 'stream_server_http_requests_total{method="GET",route="/metrics",status="500"} 1.0' in metrics
    assert 'stream_server_errors_total{code="INTERNAL",surface="server"} 1.0' in metrics


async def test_a_fault_of_ours_in_a_dialect_is_found_by_the_id_in_its_body(
    records: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Transcriptions, "answer", broken)
    async with (
        running_server(FakeRecognizer(), job_worker="elsewhere", data_dir=tmp_path) as server,
        client_of(server) as client,
    ):
        file = ("a.wav", find_recording("beckett.wav").read_bytes())
        answer = await client.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": file})
    assert answer.status_code == 500, answer.text
    mine = [record for record in records() if record.get("request_id") == answer.json()["request_id"]]
    assert any("a fault of ours" in json.dumps(record) for record in mine)


async def test_a_session_is_found_by_its_id_and_carries_that_of_its_connection(records: Any) -> None:
    async with running_server(FakeRecognizer(poison=0), api_keys=("sk-very-private",)) as server:
        key = {"api_key": "sk-very-private"}
        bad, good = await call(server.ws_url, INT16 | key), await call(server.ws_url, INT16 | key)
        ready = await bad.until("ready")
        await good.until("ready")
        await bad.send(VOICE, "END")
        assert await bad.rest() == 1011
        assert ready["session_id"] in bad.events[-1]["message"]
        secret = await call(server.ws_url, {"api_key": ["sk-very-private"]})
        assert await secret.rest() == 1002
    found = records()
    mine = [record for record in found if record.get("session_id") == ready["session_id"]]
    assert [record["event"] for record in mine if "session" in record["event"]] == [
        "session started",
        "session fails",
        "session ended",
    ]
    assert any("the recognizer failed" in record["event"] for record in mine), "why it failed"
    own = {record["request_id"] for record in mine if "session" in record["event"]}
    assert len(own) == 1, "whatever set it off, the records of a session carry the id of its connection"
    assert "very-private" not in json.dumps(found)
    assert [record["code"] for record in found if record["event"] == "refused"] == ["INVALID_INIT"]


async def test_no_record_of_a_session_holds_what_was_said(records: Any) -> None:
    logging.getLogger("stream_server").setLevel(logging.DEBUG)
    async with running_server(FakeRecognizer()) as server:
        caller = await transcribe(server.ws_url, VOICE, INT16 | {"keyterms": ["a-private-name"]})
    logging.getLogger("stream_server").setLevel(logging.NOTSET)
    text = json.dumps(records())
    assert caller.events[0]["session_id"] in text
    assert caller.finals[0]["text"].split()[0] == "alpha"
    assert "alpha" not in text
    assert "a-private-name" not in text


async def test_a_refused_handshake_carries_its_id(records: Any) -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-right",)) as server:
        with pytest.raises(InvalidStatus) as caught:
            await connect(server.ws_url, additional_headers={"Authorization": "Bearer sk-wrong"}, proxy=None)
    request_id = caught.value.response.headers["x-request-id"]
    mine = [record for record in records() if record.get("request_id") == request_id]
    assert [(record["event"], record["route"], record["code"]) for record in mine] == [
        ("request refused", "/ws", "AUTH_FAILED")
    ]


async def test_the_ids_of_one_caller_are_not_those_of_another(records: Any) -> None:
    async def work(number: int) -> None:
        with log_context(request_id=str(number)):
            await asyncio.sleep(0.01 * (3 - number))
            await asyncio.to_thread(logging.getLogger("thread").warning, "%d", number)

    await asyncio.gather(*(work(number) for number in range(3)))
    outside = context_of(session_id="s")
    asyncio.get_running_loop().call_soon_threadsafe(logging.getLogger("call").warning, "s", context=outside)
    await asyncio.sleep(0)
    logging.getLogger("outside").warning("none")
    said = {record["event"]: record.get("request_id", record.get("session_id")) for record in records()}
    assert said == {"0": "0", "1": "1", "2": "2", "s": "s", "none": None}


def test_a_job_is_found_in_the_log_of_a_worker_of_another_process(tmp_path: Path) -> None:
    """By its own id and by that of the request that made it."""
    with running_site() as site:
        server = ServerProcess(tmp_path, log_format="json", allowed_hosts=",".join(HERE))
        try:
            with httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client:
                made = client.post("/v1/transcriptions", json={"audio_url": site.url("/nothing.wav"), "mode": "sync"})
            job = made.json()
        finally:
            assert server.stop() == 0
    records = [json.loads(line) for line in server.log.read_text().splitlines()]
    failed = [record for record in records if record["event"].startswith("job failed")]
    assert [(record["job_id"], record["request_id"]) for record in failed] == [
        (job["id"], made.headers["x-request-id"])
    ]
