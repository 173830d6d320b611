"""Spans of requests, sessions and jobs, as an exporter gets them; and that nothing is loaded where nobody asked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stream_server import tracing
from stream_server.engine.moonshine.asset import find_recording
from stream_server.settings import exports_traces
from stream_server.tracing import configure_tracing
from tests.protocol.sound import synthesize
from tests.support.caller import transcribe
from tests.support.fake import FakeRecognizer
from tests.support.receiver import running_receiver
from tests.support.running import running_server
from tests.support.site import HERE, content, running_site
from tests.support.speech import pcm

VOICE = pcm(synthesize("speech", 16_000, 16_000))
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.setattr(tracing, "_tracer", None)
    exporter = InMemorySpanExporter()
    configure_tracing(exporter)
    yield exporter
    exporter.shutdown()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_a_session_is_part_of_its_connection(exporter: InMemorySpanExporter) -> None:
    async with running_server(FakeRecognizer()) as server:
        caller = await transcribe(server.ws_url, VOICE, {"dtype": "int16"})
        while not named(exporter, "GET /ws"):
            await asyncio.sleep(0.01)
    connection, session = named(exporter, "GET /ws")[0], named(exporter, "session")[0]
    assert session.parent is not None
    assert connection.context is not None
    assert session.parent.span_id == connection.context.span_id
    assert connection.kind is SpanKind.SERVER
    assert attributes(connection)["http.response.status_code"] == 101
    assert attributes(session) == {
        "session_id": caller.events[0]["session_id"],
        "dtype": "int16",
        "close_code": 1000,
        "audio_sec": pytest.approx(len(VOICE) / 2 / 16_000),
    }
    assert session.resource.attributes["service.name"] == "stream-server"


async def test_a_request_is_part_of_its_callers_trace(exporter: InMemorySpanExporter) -> None:
    async with (
        running_server(FakeRecognizer()) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client,
    ):
        header = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        answer = await client.get("/healthz?token=private", headers=header)
        await client.get("/a-private-path", headers={"traceparent": "nonsense"})
    span = named(exporter, "GET /healthz")[0]
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert attributes(span)["request_id"] == answer.headers["x-request-id"]
    assert named(exporter, "GET none")[0].parent is None
    assert "private" not in "".join(span.to_json() for span in exporter.get_finished_spans())


async def test_a_job_and_its_stages(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    settings = {"job_worker": "inline", "data_dir": tmp_path, "allowed_hosts": ",".join(HERE)}
    with running_site() as site, running_receiver() as receiver:
        site.pages["/a.wav"] = content(find_recording("beckett.wav").read_bytes())
        async with running_server(FakeRecognizer(), **settings) as server:
            async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client:
                body = {"audio_url": site.url("/a.wav"), "callback_url": receiver.url}
                made = await client.post("/v1/transcriptions", json=body)
                assert made.status_code < 300, made.text
            while not named(exporter, "job.callback"):
                await asyncio.sleep(0.02)
    request = made.headers["x-request-id"]
    downloading, working = sorted(named(exporter, "job"), key=lambda span: span.start_time or 0)
    assert attributes(working)["request_id"] == attributes(downloading)["request_id"] == request
    job = attributes(working)["job_id"]
    assert attributes(named(exporter, "job.callback")[0])["job_id"] == job
    for name, parent in (("download", downloading), ("probe", working), ("transcribe", working)):
        stage = named(exporter, f"job.{name}")[0]
        assert stage.parent is not None
        assert parent.context is not None
        assert stage.parent.span_id == parent.context.span_id, name
    assert attributes(named(exporter, "job.probe")[0])["duration_sec"] == pytest.approx(9.96, abs=0.1)
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "a.wav" not in told


def test_what_fails_is_marked_and_what_it_said_is_not_told(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="private"), tracing.span("work"):
        raise ValueError("something private")
    span = named(exporter, "work")[0]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError"
    assert "private" not in span.to_json()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
    ],
)
def test_the_standard_variables_decide(environ: dict[str, str], expected: bool) -> None:
    assert exports_traces(environ) is expected


def _run(program: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | environ
    )
    return done.stdout + done.stderr


def test_off_it_makes_no_span_and_loads_nothing() -> None:
    program = """
import sys
from stream_server.tracing import begin, span
before = set(sys.modules)
with span("a", caller={"traceparent": "x"}, b=1) as one:
    one.set(c=2)
    one.fail("d")
two = begin("e")
two.end()
assert one is two
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert _run(program).strip() == "[]"


def test_without_the_extra_it_is_said_and_nothing_fails() -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None
from stream_server.tracing import configure_tracing, span
configure_tracing()
with span("a"):
    print("done")
"""
    said = _run(program)
    assert "needs the extra otel" in said
    assert "done" in said


def test_spans_reach_a_collector_by_its_variables() -> None:
    with running_receiver() as receiver:
        program = """
from stream_server.settings import exports_traces
from stream_server.tracing import configure_tracing, span
assert exports_traces()
configure_tracing()
with span("a-span-of-ours"):
    pass
"""
        _run(program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_SERVICE_NAME="my-captions", no_proxy="*")
        receiver.wait_for(lambda callbacks: any(callback.path == "/v1/traces" for callback in callbacks))
    body = receiver.callbacks[0].body
    assert b"a-span-of-ours" in body
    assert b"my-captions" in body
