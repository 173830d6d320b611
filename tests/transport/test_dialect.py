"""What all dialects share: errors in their shape, who is let in and how often, callers who hang up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from stream_protocol.errors import ClientError, ErrorCode, ServerError
from stream_server.jobs.database import open_database, read_secret
from stream_server.jobs.error import STATUS, JobError, Reason
from stream_server.keys import KeyStore
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    json_answer,
    request_id_of,
    responses,
    transcriptions_of,
    while_connected,
)
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server


class Refusal(BaseModel):
    why: str
    name: str | None


def shape(error: JobError, _: Request) -> Response:
    return json_answer(Refusal(why=f"{error.reason}: {error.message}", name=error.parameter), STATUS[error.reason])


async def inner(page: int = 1) -> None:
    """A part of several routes that has a parameter of its own."""


class Workshop:
    """Routes of a made-up dialect on a real server. ``error`` is raised by one; another waits until it is let go."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()
        self.ends: list[str] = []
        self.router = dialect_router(shape)
        self.router.add_api_route("/fail", self.fail, methods=["GET"], responses=responses(Refusal, 404))
        self.router.add_api_route("/enter", self.enter, methods=["GET"])
        self.router.add_api_route("/enter", self.enter, methods=["POST"])
        self.router.add_api_route("/wait", self.wait, methods=["GET"])
        self.router.add_api_route("/drip", self.drip, methods=["GET"])
        self.router.add_api_route("/system", self.jobs, methods=["GET"])
        self.router.add_api_route("/name", self.name, methods=["GET"])
        self.router.add_api_route("/many", self.many, methods=["PUT"])

    async def fail(self, number: int = 0) -> None:
        if self.error is not None:
            raise self.error

    async def enter(self, caller: TranscribeCaller) -> dict[str, str]:
        return {"caller": caller.name}

    async def wait(self, request: Request) -> Response:
        return await while_connected(request, self._work())

    async def drip(self, _: TranscribeCaller) -> Response:
        async def drops() -> AsyncIterator[bytes]:
            yield b"first"
            await self.released.wait()
            yield b"last"

        return StreamingResponse(drops())

    async def jobs(self, request: Request) -> None:
        transcriptions_of(request)

    async def name(self, request: Request) -> Response:
        return Response(request_id_of(request))

    async def many(
        self, _: Annotated[None, Depends(inner)], size: int = 1, kind: Annotated[str, Query(alias="type")] = ""
    ) -> None:
        self.ends.append("called")

    async def _work(self) -> Response:
        self.arrived.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        finally:
            self.released.set()
        self.ends.append("done")
        return Response("work done")


@asynccontextmanager
async def workshop(**settings: Any) -> AsyncIterator[tuple[Workshop, Running, httpx2.AsyncClient]]:
    made = Workshop()
    async with running_server(FakeRecognizer(), **settings) as server:
        app = server.server.app
        assert isinstance(app, FastAPI)
        app.include_router(made.router)
        async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client:
            yield made, server, client


@pytest.mark.parametrize(
    ("error", "status", "why", "headers"),
    [
        (JobError(Reason.NOT_FOUND, "no such job"), 404, "NOT_FOUND: no such job", {}),
        (JobError(Reason.TIMEOUT, "slow", retry_after=1.2), 504, "TIMEOUT: slow", {"Retry-After": "2"}),
        (JobError(Reason.RATE_LIMITED, "less", retry_after=0.0), 429, "RATE_LIMITED: less", {"Retry-After": "1"}),
        (JobError(Reason.UNAUTHORIZED, "who?"), 401, "UNAUTHORIZED: who?", {"WWW-Authenticate": "Bearer"}),
        (ClientError(ErrorCode.AUTH_FAILED, "who?"), 401, "UNAUTHORIZED: who?", {"WWW-Authenticate": "Bearer"}),
        (
            ServerError(ErrorCode.SERVER_DRAINING, "going", retry_after=5),
            503,
            "SERVICE_UNAVAILABLE: going",
            {"Retry-After": "5"},
        ),
        (JobError(Reason.SERVICE_UNAVAILABLE, "no"), 503, "SERVICE_UNAVAILABLE: no", {"Retry-After": "5"}),
        (HTTPException(400, "not JSON"), 400, "INVALID_PARAMETER: not JSON", {}),
        (
            sa.exc.OperationalError("SELECT", {}, Exception("gone")),
            503,
            "SERVICE_UNAVAILABLE: the database cannot be reached; try again",
            {"Retry-After": "5"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_errors_have_the_shape_of_the_dialect(
    error: Exception, status: int, why: str, headers: dict[str, str]
) -> None:
    async with workshop() as (made, _, client):
        made.error = error
        response = await client.get("/fail")
    assert (response.status_code, response.json()) == (status, {"why": why, "name": None})
    assert {name: response.headers.get(name) for name in headers} == headers


async def test_a_wrong_parameter_is_named() -> None:
    async with workshop() as (_, _, client):
        response = await client.get("/fail", params={"number": "seven"})
    assert response.status_code == 400
    assert response.json()["name"] == "number"
    assert response.json()["why"].startswith("INVALID_PARAMETER: number: input should be a valid integer")


async def test_a_parameter_that_there_is_not_is_named_with_those_that_there_are() -> None:
    async with workshop() as (made, _, client):
        for name in ("sizes", "kind", "_", "Type", "", "size "):
            refused = await client.put("/many", params={"size": "2", "type": "a", "page": "3", name: "1"})
            assert (refused.status_code, refused.json()) == (
                400,
                {
                    "why": f"INVALID_PARAMETER: there is no parameter {name!r}; there are: page, size, type",
                    "name": name,
                },
            )
        none = await client.get("/name", params={"size": "2"})
        assert none.json()["why"] == "INVALID_PARAMETER: there is no parameter 'size'; this takes none"
        assert made.ends == []
        assert (await client.put("/many", params={"size": "2", "type": "a", "page": "3"})).status_code == 200
    assert made.ends == ["called"]


async def test_a_parameter_is_given_once() -> None:
    async with workshop() as (made, _, client):
        for values in (["1", "2"], ["1", "1"], ["", "2"]):
            refused = await client.put("/many", params={"size": values})
            why = "INVALID_PARAMETER: size is given 2 times, and takes one value"
            assert (refused.status_code, refused.json()) == (400, {"why": why, "name": "size"})
    assert made.ends == []


async def test_a_parameter_that_is_given_empty_is_not_given() -> None:
    async with workshop() as (made, _, client):
        assert (await client.put("/many", params={"size": "", "type": "", "page": " "})).status_code == 200
        assert (await client.put("/many?size&type=%26a")).status_code == 200
        assert (await client.put("/many", params={"sizes": ""})).status_code == 400
    assert made.ends == ["called", "called"]


async def test_no_route_of_a_dialect_ignores_a_parameter(tmp_path: Path) -> None:
    """Of forms and recordings that is a test of how they are read."""
    async with workshop(job_worker="elsewhere", data_dir=tmp_path) as (_, _, client):
        paths = (await client.get("/openapi.json")).json()["paths"]
        operations = [
            (method.upper(), path.replace("{job_id}", "1").replace("{token}", "1").replace("{model}", "1"))
            for path, methods in paths.items()
            for method, operation in methods.items()
            if path not in ("/healthz", "/readyz", "/metrics")
            and not {"multipart/form-data", "audio/*"} & operation.get("requestBody", {}).get("content", {}).keys()
        ]
        assert ("PUT", "/v1/uploads/1") in operations
        assert ("POST", "/v1/tokens") in operations
        assert ("DELETE", "/v1/transcriptions/1") in operations
        for method, path in operations:
            refused = await client.request(method, path, params={"nonsense": "1"})
            assert (refused.status_code, "'nonsense'" in refused.text) == (400, True), (method, path, refused.text)


async def test_what_nobody_thought_of_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with workshop() as (made, _, client):
        made.error = ZeroDivisionError("a secret of the house")
        response = await client.get("/fail")
    request_id = response.headers["X-Request-Id"]
    assert response.status_code == 500
    assert response.json()["why"] == f"INTERNAL: the server is at fault; report request {request_id}"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert request_id in record.getMessage()
    assert "a secret of the house" in caplog.text


async def test_a_caller_who_is_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with workshop() as (made, _, client):
        made.error = ClientDisconnect()
        assert (await client.get("/fail")).status_code == 499
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_statuses_are_documented() -> None:
    async with workshop() as (_, _, client):
        document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/fail"]["get"]
    assert sorted(operation["responses"]) == ["200", "400", "401", "403", "404", "422", "429", "500", "503"]
    assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Refusal")
    assert document["paths"]["/enter"]["get"]["security"]


async def test_a_server_without_jobs_says_so() -> None:
    async with workshop() as (_, _, client):
        response = await client.get("/system")
    assert response.status_code == 422
    assert response.json()["why"].startswith("FEATURE_UNAVAILABLE: ")
    assert "job_worker" in response.json()["why"]
    assert "Retry-After" not in response.headers, "it is not a matter of time"


async def test_keys_are_asked_for() -> None:
    async with workshop(api_keys=("sk-right",)) as (_, _, client):
        for scheme in ("Bearer", "Token", "token"):
            assert (await client.get("/enter", headers={"Authorization": f"{scheme} sk-right"})).status_code == 200
        for headers in ({}, {"Authorization": "Bearer sk-wrong"}, {"Authorization": "Basic sk-right"}):
            refused = await client.get("/enter", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert refused.json()["why"].startswith("UNAUTHORIZED: ")
            assert "sk-" not in refused.text


async def test_a_key_for_live_sessions_makes_no_jobs(tmp_path: Path) -> None:
    async with workshop(job_worker="elsewhere", data_dir=tmp_path) as (_, server, client):
        assert (await client.get("/enter")).status_code == 200, "nobody has made a key yet"
        database = open_database(server.service.settings)
        store = KeyStore(database, read_secret(server.service.settings))
        _, live = store.create("live", scopes=("live",), now=time.time())
        _, files = store.create("files", scopes=("transcribe",), now=time.time())
        database.dispose()
        refused = await client.get("/enter", headers={"Authorization": f"Bearer {live}"})
        assert refused.status_code == 403
        assert refused.json()["why"].startswith("FORBIDDEN: ")
        admitted = await client.get("/enter", headers={"Authorization": f"Bearer {files}"})
        assert (admitted.status_code, admitted.json()) == (200, {"caller": "files"})


async def test_a_callback_makes_no_job() -> None:
    async with workshop() as (_, _, client):
        assert (await client.post("/enter")).status_code == 200
        refused = await client.post("/enter", headers={"webhook-id": "msg_1"})
    assert refused.status_code == 400
    assert refused.json()["why"] == "INVALID_PARAMETER: callbacks cannot create jobs"


async def test_requests_per_minute() -> None:
    async with workshop(api_keys=("sk-right",), requests_per_minute=2) as (_, _, client):
        client.headers["Authorization"] = "Bearer sk-right"
        answers = [await client.get("/enter") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"2"}
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60


async def test_a_request_holds_its_place_until_all_of_its_response_is_sent() -> None:
    async with workshop(api_keys=("sk-right",), concurrent_requests=1) as (made, _, client):
        client.headers["Authorization"] = "Bearer sk-right"
        async with client.stream("GET", "/drip") as first:
            pieces = first.aiter_raw()
            assert await anext(pieces) == b"first"
            refused = await client.get("/enter")
            made.released.set()
            assert await anext(pieces) == b"last"
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)
        assert refused.status_code == 429
        assert "Retry-After" in refused.headers
        async with asyncio.timeout(30):
            statuses = {(await client.get("/enter")).status_code}
            while 200 not in statuses:  # the place is given back when the last byte is on its way
                statuses.add((await client.get("/enter")).status_code)


async def test_work_ends_with_its_answer() -> None:
    async with workshop() as (made, _, client):
        made.released.set()
        assert (await client.get("/wait")).text == "work done"
    assert made.ends == ["done"]


async def test_work_is_given_up_when_the_caller_hangs_up() -> None:
    async with workshop() as (made, server, _):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(30):
            await made.arrived.wait()
            writer.transport.abort()
            await made.released.wait()
    assert made.ends == ["cancelled"]


async def test_a_method_that_a_path_does_not_take() -> None:
    async with workshop(job_worker="off") as (_, _, client):
        for path, allowed, shape in (
            ("/v1/transcriptions/1", "DELETE, GET", ("error", "code")),
            ("/v1/audio/transcriptions", "POST", ("error", "code")),
            ("/v1/transcriptions/batch", "POST", ("error", "code")),
            ("/languages", "GET", ()),
            ("/v1/listen", "POST", ("code",)),
            ("/v3/asr/jobs/1", "GET", ("code",)),
            ("/health", "GET, HEAD", ()),
            ("/openapi.json", "GET, HEAD", ("error", "code")),
        ):
            refused = await client.patch(path)
            assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)
            found = refused.json()
            if shape != ("code",):
                assert found["request_id"] == refused.headers["X-Request-Id"], path
            if not shape:
                assert set(found) == {"detail", "request_id"}
            for name in shape:
                found = found[name]
            assert not shape or found == "METHOD_NOT_ALLOWED"
        missing = await client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert missing.json()["request_id"] == missing.headers["X-Request-Id"]


async def test_a_request_has_an_id() -> None:
    async with workshop() as (_, _, client):
        first, second = await client.get("/name"), await client.get("/name")
    assert first.text == first.headers["X-Request-Id"] != second.text == second.headers["X-Request-Id"]
