"""The small HTTP surface, and who is let in."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from stream_server.auth import KeyFileError
from stream_server.engine.recognizer import DeviceLostError
from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
KEY = "sk-right"


async def get(server: Running, path: str, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client:
        return await client.get(path, headers=headers)


async def refusal(server: Running, **headers: str) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught:
        await connect(server.ws_url, additional_headers=headers, proxy=None)
    return caught.value


async def test_an_open_server_says_so_and_serves_everyone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with running_server(FakeRecognizer()) as server:
            assert "anyone who can reach this server may use it" in caplog.text
            assert (await get(server, "/v1/models")).status_code == 200
            await transcribe(server.ws_url, VOICE, INT16 | {"api_key": "whatever"})


async def test_a_server_with_keys_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with running_server(FakeRecognizer(), api_keys=(KEY,)):
            assert caplog.text == ""


async def test_health_readiness_and_documents() -> None:
    async with running_server(FakeRecognizer(), max_sessions=7) as server:
        assert (await get(server, "/healthz")).json() == {"status": "ok"}
        ready = await get(server, "/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "sessions": 0, "max_sessions": 7})
        assert "swagger" in (await get(server, "/docs")).text.lower()
        paths = (await get(server, "/openapi.json")).json()["paths"]
        assert {"/healthz", "/readyz", "/v1/models", "/metrics"} <= set(paths)
        assert (await get(server, "/nowhere")).status_code == 404
        assert len({(await get(server, "/healthz")).headers["x-request-id"] for _ in range(3)}) == 3


async def test_probes_may_ask_for_headers_alone() -> None:
    async with (
        running_server(FakeRecognizer()) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client,
    ):
        for path in ("/healthz", "/readyz", "/health"):
            answer = await client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
        server.service.limit.is_draining = True
        assert (await client.head("/readyz")).status_code == 503


async def test_readiness_while_draining_and_when_the_engine_has_died() -> None:
    async with running_server(FakeRecognizer()) as server:
        server.service.limit.is_draining = True
        ready = await get(server, "/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert ready.headers["Retry-After"]
        assert (await get(server, "/healthz")).status_code == 200
        server.service.limit.is_draining = False
        server.service.engine.stop()
        ready = await get(server, "/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "engine stopped")


async def test_models() -> None:
    async with running_server(FakeRecognizer()) as server:
        models = (await get(server, "/v1/models")).json()
        for name in ("fake", "whisper-1"):
            assert (await get(server, f"/v1/models/{name}")).json() == models["data"][0]
        for name in ("whisper-9", "", "a/b"):
            missing = await get(server, f"/v1/models/{name}")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert models["object"] == "list"
    (model,) = models["data"]
    assert (model["id"], model["kind"], model["languages"]) == ("fake", "segment", ["en"])
    assert (model["owned_by"], model["created"]) == ("stream-server", server.service.started_at)
    assert model["created"] == pytest.approx(time.time(), abs=3600)


async def test_who_has_published_a_model() -> None:
    info = replace(FakeRecognizer().info, name="openai/whisper-tiny")
    async with running_server(FakeRecognizer(info=info)) as server:
        assert (await get(server, "/v1/models/openai/whisper-tiny")).json()["owned_by"] == "openai"
        assert (await get(server, "/v1/models/openai%2Fwhisper-tiny")).json()["id"] == "openai/whisper-tiny"


async def test_models_are_asked_for_within_limits() -> None:
    async with running_server(FakeRecognizer(), api_keys=(KEY,), requests_per_minute=1) as server:
        answers = [await get(server, "/v1/models", Authorization=f"Bearer {KEY}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["0", "0"]


async def test_metrics_count_what_happens() -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await call(server.ws_url, INT16)
        await caller.until("ready")
        during = (await get(server, "/metrics")).text
        await caller.send(VOICE, "END")
        assert await caller.rest() == 1000
        after = (await get(server, "/metrics")).text
    assert "stream_server_connections 1.0" in during
    assert "stream_server_sessions 1.0" in during
    assert "stream_server_engine_streams 1.0" in during
    assert "stream_server_engine_streams 0.0" in after
    assert 'stream_server_engine_jobs_total{kind="final"} 1.0' in after


async def test_a_wrong_key_is_refused_before_the_upgrade() -> None:
    async with running_server(FakeRecognizer(), api_keys=(KEY,)) as server:
        response = (await refusal(server, Authorization="Bearer sk-wrong")).response
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert b"AUTH_FAILED" in (response.body or b"")
        models = await get(server, "/v1/models", Authorization="Bearer sk-wrong")
        assert (models.status_code, models.json()["error"]["code"]) == (401, "UNAUTHORIZED")
        assert models.json()["request_id"] == models.headers["X-Request-Id"]
        assert (await get(server, "/v1/models")).status_code == 401
        for open_to_all in ("/healthz", "/readyz", "/metrics"):
            assert (await get(server, open_to_all)).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "bearer"])
async def test_a_right_key_in_the_header(scheme: str) -> None:
    async with running_server(FakeRecognizer(), api_keys=("another", KEY)) as server:
        headers = {"Authorization": f"{scheme} {KEY}"}
        await transcribe(server.ws_url, VOICE, INT16, additional_headers=headers)
        assert (await get(server, "/v1/models", **headers)).status_code == 200


@pytest.mark.parametrize("init", [INT16, INT16 | {"api_key": "sk-wrong"}, INT16 | {"api_key": ""}])
async def test_a_wrong_key_in_init(init: dict[str, str]) -> None:
    async with running_server(FakeRecognizer(), api_keys=(KEY,)) as server:
        caller = await call(server.ws_url, init)
        assert await caller.rest() == 4001
        assert [event["code"] for event in caller.events] == ["AUTH_FAILED"]
        assert KEY not in caller.events[0]["message"]
        await transcribe(server.ws_url, VOICE, INT16 | {"api_key": KEY})


async def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "api-keys"
    file.write_text(f"# who: the desk\n\n  {KEY}  \nsk-second\n")
    for settings in ({"api_key_file": file}, {"data_dir": tmp_path}):
        async with running_server(FakeRecognizer(), **settings) as server:
            await refusal(server, Authorization="Bearer sk-wrong")
            for key in (KEY, "sk-second"):
                await transcribe(server.ws_url, VOICE, INT16 | {"api_key": key})


async def test_a_key_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """A server that was to be closed must not come up open."""
    empty = tmp_path / "empty"
    empty.write_text("# nothing\n")
    for file in (tmp_path / "missing", empty):
        with pytest.raises(KeyFileError, match=file.name):
            async with running_server(FakeRecognizer(), api_key_file=file):
                pass


async def test_a_full_server_refuses_before_the_upgrade() -> None:
    async with running_server(FakeRecognizer(), max_sessions=1, retry_after=0.3) as server:
        caller = await call(server.ws_url, INT16)
        await caller.until("ready")
        response = (await refusal(server)).response
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert b"CAPACITY_FULL" in (response.body or b"")
        await caller.send("END")
        assert await caller.rest() == 1000
        await transcribe(server.ws_url, VOICE, INT16)


async def test_a_place_is_not_lost_to_those_who_never_get_a_session() -> None:
    async with running_server(FakeRecognizer(), max_sessions=1, init_timeout=0.05) as server:
        for init in ("nonsense", {"model": "x"}, {"dtype": "int12"}, None):
            caller = await call(server.ws_url, init)
            await caller.rest()
            assert caller.events[-1]["type"] == "error"
        gone = await call(server.ws_url)
        gone.socket.transport.abort()
        assert server.service.limit.taken == 0
        await transcribe(server.ws_url, VOICE, INT16)
        assert server.service.engine.streams == 0


async def test_a_lost_engine_ends_the_sessions_and_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = FakeRecognizer()
    caplog.set_level(logging.CRITICAL + 1)
    async with running_server(recognizer) as server:
        async with connect(server.ws_url) as socket:
            await socket.send(json.dumps(INT16))
            assert json.loads(await socket.recv())["type"] == "ready"
            recognizer.error = DeviceLostError("the card fell off the bus")
            await socket.send(VOICE)
            events = []
            with suppress(ConnectionClosedError):
                while True:
                    events.append(json.loads(await socket.recv()))
        assert (events[-1]["type"], events[-1]["code"]) == ("error", "SERVER_DRAINING")
        assert events[-1]["retry_after"] > 0
        assert socket.close_code == 1012
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.ws_url)
        assert refused.value.response.status_code == 503
        assert "Retry-After" in refused.value.response.headers
        ready = await get(server, "/readyz")
        assert ready.status_code == 503
        assert "the card fell off the bus" in ready.json()["status"]
        assert (await get(server, "/healthz")).status_code == 200


async def test_sessions_are_as_many_as_the_device_holds_streams(caplog: pytest.LogCaptureFixture) -> None:
    recognizer = FakeRecognizer(info=replace(FakeRecognizer().info, max_streams=3))
    async with running_server(recognizer, max_sessions=7) as server:
        assert (await get(server, "/readyz")).json()["max_sessions"] == 3
    assert "holds 3 streams" in caplog.text
