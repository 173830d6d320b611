"""What `/metrics` says, before and after real traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.moonshine.asset import find_recording
from stream_server.jobs.service import Transcriptions
from stream_server.metrics import Metrics
from stream_server.reading import Sample, Span, address_of, read_sample
from stream_server.transport import http
from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))


async def look(server: Running) -> Sample:
    return await asyncio.to_thread(read_sample, address_of(server.http_url))


async def until(server: Running, condition: Callable[[Sample], bool]) -> Sample:
    while not condition(sample := await look(server)):
        await asyncio.sleep(0.02)
    return sample


async def test_a_session_moves_the_metrics_of_sessions() -> None:
    async with running_server(FakeRecognizer(), max_sessions=7) as server:
        before = await look(server)
        assert before.value("sessions_limit") == 7
        assert before.value("sessions") == before.value("connections") == 0
        assert before.text("build_info", "model") == "fake"
        caller = await call(server.ws_url, INT16)
        await caller.until("ready")
        during = await look(server)
        assert during.value("sessions") == during.value("connections") == 1
        assert during.value("engine_streams") == 1
        await caller.send(VOICE, "END")
        assert await caller.rest() == 1000
        after = await until(server, lambda now: now.value("connections") == 0)

    span = Span(before, after)
    assert span.grown("sessions_started_total") == 1
    assert span.grown("sessions_ended_total", close_code="1000") == 1
    assert span.grown("received_audio_seconds_total") == pytest.approx(len(VOICE) / 2 / 16_000)
    assert span.grown("final_latency_seconds_count") == len(caller.finals) > 0
    assert span.grown("partial_latency_seconds_count") == len(caller.of("partial"))
    told = sum(event["latency_ms"] for event in caller.finals) / 1000
    assert span.grown("final_latency_seconds_sum") == pytest.approx(told, abs=1e-3)
    steps = span.grown("engine_steps_total")
    assert steps == span.grown("engine_step_seconds_count") == span.grown("engine_batch_size_count") > 0
    assert span.grown("engine_batch_size_sum") == span.grown("engine_jobs_total") >= steps
    assert span.grown("engine_step_seconds_sum") == pytest.approx(span.grown("engine_busy_seconds_total"))
    assert span.grown("errors_total") == 0
    assert after.value("engine_up") == 1


async def test_errors_are_counted_by_code_and_surface() -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-right",), max_message_bytes=1024) as server:
        wrong = await call(server.ws_url, INT16 | {"api_key": "sk-wrong"})
        assert await wrong.rest() == 4001
        large = await call(server.ws_url, INT16 | {"api_key": "sk-right"})
        await large.until("ready")
        await large.send(bytes(2000))
        await large.rest()
        poor = await call(server.ws_url, INT16 | {"api_key": "sk-right"})
        await poor.until("ready")
        await poor.send({"type": "flush", "id": "x" * 200})
        assert await poor.rest() == 1002
        async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client:
            assert (await client.get("/v1/nothing")).status_code == 404
            assert (await client.get("/v1/audio/transcriptions")).status_code == 405
            assert (await client.post("/v1/audio/transcriptions")).status_code in (401, 422)
        found = await until(server, lambda now: now.value("errors_total", code="MESSAGE_TOO_LARGE") == 1)

    assert found.value("errors_total", surface="live", code="AUTH_FAILED") == 1
    assert found.value("errors_total", surface="live", code="PROTOCOL_ERROR") == 1
    assert found.value("errors_total", code="NOT_FOUND") == 1
    assert found.value("errors_total", surface="openai", code="METHOD_NOT_ALLOWED") == 1
    assert found.value("http_requests_total", route="none", status="404") == 1
    assert found.value("http_requests_total", method="GET", route="/v1/audio/transcriptions", status="405") == 1
    assert found.value("sessions_ended_total", close_code="1002") == 1


async def test_a_refused_handshake_is_a_request_and_an_open_one_is_not() -> None:
    async with running_server(FakeRecognizer()) as server:
        await transcribe(server.ws_url, VOICE, INT16)
        service = server.service
        service.limit.is_draining = True
        async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client:
            answer = await client.get(
                "/ws",
                headers={
                    "connection": "upgrade",
                    "upgrade": "websocket",
                    "sec-websocket-version": "13",
                    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
                },
            )
        assert answer.status_code == 503
        assert answer.headers["x-request-id"]
        found = await look(server)
        assert found.value("http_requests_total", route="/ws", status="503") == 1
        assert found.value("http_requests_total", route="/ws") == 1
        assert found.value("draining") == 1
        service.limit.is_draining = False


async def test_a_slow_reader_and_a_thinned_partial_are_told_apart() -> None:
    engine = Engine(FakeRecognizer(), EngineSettings())
    metrics = Metrics(engine)
    metrics.live.slow_readers.inc()
    text = metrics.render().decode()
    assert "stream_server_slow_readers_total 1.0" in text
    assert "stream_server_engine_thinned_jobs_total 0.0" in text
    assert "_created" not in text


async def test_jobs_are_counted_when_they_end_and_stay_counted_when_they_are_gone(tmp_path: Path) -> None:
    async with running_server(FakeRecognizer(), job_worker="inline", data_dir=tmp_path) as server:
        await until(server, lambda now: now.value("job_workers") == 1)
        async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False, timeout=60) as client:
            file = ("a.wav", find_recording("beckett.wav").read_bytes())
            answer = await client.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": file})
            assert answer.status_code == 200, answer.text
        found = await look(server)
    assert found.value("jobs_finished_total", surface="openai", outcome="completed") == 1
    assert found.value("jobs_finished_total") == 1
    assert found.value("jobs_audio_seconds_total", surface="openai") == pytest.approx(9.96, abs=0.1)
    assert found.value("jobs_work_seconds_total") > 0
    assert found.value("jobs", state="queued") == found.value("jobs_oldest_seconds") == 0
    assert found.value("database_up") == 1


async def test_a_database_that_is_away_costs_only_its_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(FakeRecognizer(), job_worker="elsewhere", data_dir=tmp_path) as server:
        assert (await look(server)).value("database_up") == 1

        async def away(_: Transcriptions) -> None:
            raise sa.exc.OperationalError("SELECT", {}, Exception("away"))

        monkeypatch.setattr(Transcriptions, "figures", away)
        found = await look(server)
        assert found.value("database_up") == 0
        assert found.value("engine_up") == 1


async def test_a_database_that_does_not_answer_does_not_hold_up_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(FakeRecognizer(), job_worker="elsewhere", data_dir=tmp_path) as server:
        monkeypatch.setattr(http, "FIGURES_SEC", 0.05)
        monkeypatch.setattr(Transcriptions, "figures", lambda _: asyncio.sleep(3600))
        assert (await look(server)).value("database_up") == 0


async def test_a_server_without_jobs_says_nothing_of_them() -> None:
    async with running_server(FakeRecognizer()) as server:
        found = await look(server)
    assert "stream_server_database_up" not in found.values
    assert "stream_server_jobs" not in found.values
