"""Keys, limits and tokens as callers meet them, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from stream_server import auth
from stream_server.auth import Scope
from stream_server.jobs.database import open_database, read_secret
from stream_server.keys import KeyStore
from stream_server.settings import Settings
from tests.protocol.sound import synthesize
from tests.support.caller import Caller, call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
SETTINGS_KEY = "sk-of-the-settings"


class Desk:
    """A running server, and the keys of its database."""

    def __init__(self, server: Running, store: KeyStore) -> None:
        self.server = server
        self.store = store

    def key(self, *scopes: Scope, **limits: Any) -> tuple[str, str]:
        stored, key = self.store.create("desk", scopes=scopes or tuple(Scope), now=1.0, **limits)
        return stored.id, key

    async def send(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx2.Response:
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        async with httpx2.AsyncClient(base_url=self.server.http_url, trust_env=False) as client:
            return await client.request(method, path, headers=headers, **options)

    async def token(self, key: str, **wanted: Any) -> str:
        response = await self.send("POST", "/v1/tokens", key, json=wanted)
        assert response.status_code == 200, response.text
        token: str = response.json()["token"]
        return token

    async def session(self, key: str = "", query: str = "") -> Caller:
        """An open session, or the refusal of one."""
        caller = await call(self.server.ws_url + query, INT16 | {"api_key": key})
        await caller.receive()
        return caller


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    settings = Settings.load({}, data_dir=tmp_path)
    database = open_database(settings)
    async with running_server(
        FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", api_keys=(SETTINGS_KEY,), retry_after=7.0
    ) as server:
        yield Desk(server, KeyStore(database, read_secret(settings)))
    database.dispose()


def code_of(caller: Caller) -> str:
    return str(caller.events[0].get("code", caller.events[0]["type"]))


async def test_a_key_of_the_database_everywhere(desk: Desk) -> None:
    _, key = desk.key(Scope.LIVE)
    assert (await desk.send("GET", "/v1/models", key)).status_code == 200
    await transcribe(desk.server.ws_url, VOICE, INT16 | {"api_key": key})
    await transcribe(desk.server.ws_url, VOICE, INT16, additional_headers={"Authorization": f"Token {key}"})
    assert (await desk.send("GET", "/v1/models", key + "x")).status_code == 401


async def test_a_revoked_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FRESH_SEC", 0.0)
    key_id, key = desk.key()
    token = await desk.token(key)
    caller = await desk.session(key)
    desk.store.revoke(key_id, 2.0)
    assert (await desk.send("GET", "/v1/models", key)).status_code == 401
    assert code_of(await desk.session(key)) == "AUTH_FAILED"
    assert code_of(await desk.session(query=f"?token={token}")) == "AUTH_FAILED"
    await caller.send(VOICE, "END")  # what is open goes on
    assert await caller.rest() == 1000


async def test_a_key_that_is_not_for_live_sessions(desk: Desk) -> None:
    _, key = desk.key(Scope.TRANSCRIBE)
    refused = await desk.session(key)
    assert code_of(refused) == "AUTH_FAILED"
    assert "lacks the scope live" in refused.events[0]["message"]
    with pytest.raises(InvalidStatus) as caught:
        await connect(desk.server.ws_url, additional_headers={"Authorization": f"Bearer {key}"}, proxy=None)
    assert caught.value.response.status_code == 401
    response = await desk.send("POST", "/v1/tokens", key)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_page_opens_a_session_with_a_token(desk: Desk) -> None:
    _, key = desk.key(Scope.LIVE)
    response = await desk.send("POST", "/v1/tokens", key)
    assert response.status_code == 200
    token = response.json()["token"]
    assert isinstance(response.json()["expires_at"], int)
    assert "X-RateLimit-Limit" not in response.headers
    await transcribe(f"{desk.server.ws_url}?token={token}", VOICE, INT16)
    await transcribe(desk.server.ws_url, VOICE, INT16, additional_headers={"Authorization": f"Bearer {token}"})
    await transcribe(desk.server.ws_url, VOICE, INT16 | {"api_key": token})


async def test_a_token_makes_no_token(desk: Desk) -> None:
    token = await desk.token(SETTINGS_KEY, scope="live", expires_in=10)
    response = await desk.send("POST", "/v1/tokens", token)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_key_does_not_belong_into_an_address(desk: Desk) -> None:
    _, key = desk.key()
    for wrong in (key, SETTINGS_KEY, "sst_nonsense", "sst_a.b"):
        refused = await desk.session(query=f"?token={wrong}")
        assert code_of(refused) == "AUTH_FAILED"
        assert await refused.rest() == 4001


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 200, "token"),
        (b"{}", 200, "token"),
        (b'{"scope": "transcribe"}', 400, "scope"),
        (b'{"expires_in": 61}', 400, "at most 60 s"),
        (b'{"expires_in": 0}', 400, "expires_in"),
        (b'{"expires_in": "soon"}', 400, "expires_in"),
        (b'{"expires_in": NaN}', 400, "expires_in"),
        (b'{"forever": true}', 400, "forever"),
        (b"[]", 400, "object"),
        (b"nonsense", 400, "json"),
        (b"\xff\xfe", 400, "json"),
        (b" " * 5000, 413, "4096"),
    ],
)
async def test_what_a_token_may_be_asked_for(desk: Desk, body: bytes, status: int, word: str) -> None:
    response = await desk.send("POST", "/v1/tokens", SETTINGS_KEY, content=body)
    assert response.status_code == status
    assert word in response.text.lower()


async def test_no_token_without_a_key(desk: Desk, tmp_path: Path) -> None:
    assert (await desk.send("POST", "/v1/tokens")).status_code == 401
    async with running_server(FakeRecognizer()) as server:
        response = await Desk(server, desk.store).send("POST", "/v1/tokens")
        assert (response.status_code, response.json()["error"]["code"]) == (409, "CONFLICT")
        # Where no key is asked for, a page that has a token all the same is let in.
        await transcribe(f"{server.ws_url}?token=whatever", VOICE, INT16)


async def test_requests_in_a_minute_are_requests_and_sessions(desk: Desk) -> None:
    _, key = desk.key(requests_per_minute=2)
    token = await desk.token(key)
    caller = await desk.session(query=f"?token={token}")
    assert code_of(caller) == "ready"
    refused = await desk.session(key)
    assert code_of(refused) == "RATE_LIMITED"
    assert 0 < refused.events[0]["retry_after"] <= 60
    assert await refused.rest() == 4029
    response = await desk.send("POST", "/v1/tokens", key)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert (response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]) == ("2", "0")
    assert "X-RateLimit-Reset" in response.headers
    await caller.send(VOICE, "END")
    assert await caller.rest() == 1000


async def test_a_session_holds_a_place_to_its_end(desk: Desk) -> None:
    _, key = desk.key(concurrent_requests=1)
    caller = await desk.session(key)
    ready = caller.events[0]
    refused = await desk.session(key)
    assert (code_of(refused), refused.events[0]["retry_after"]) == ("RATE_LIMITED", 7.0)
    caller.socket.transport.abort()  # it can be resumed, and takes no second place
    resume = {"session_id": ready["session_id"], "resume_token": ready["resume_token"], "last_seq": 0}
    resumed = await call(desk.server.ws_url, {"api_key": key} | resume)
    assert (await resumed.receive())["resumed"] is True
    assert code_of(await desk.session(key)) == "RATE_LIMITED"
    await resumed.send(VOICE, "END")
    assert await resumed.rest() == 1000
    again = await desk.session(key)
    assert code_of(again) == "ready"
    await again.send("END")


async def test_a_place_is_not_lost_to_a_session_that_was_refused(desk: Desk) -> None:
    _, key = desk.key(concurrent_requests=1)
    for init in ({"model": "x"}, {"dtype": "int12"}):
        caller = await call(desk.server.ws_url, init | {"api_key": key})
        await caller.rest()
    caller = await call(desk.server.ws_url)
    desk.server.service.limit.is_draining = True
    await caller.send(INT16 | {"api_key": key})
    assert await caller.rest() == 1012
    desk.server.service.limit.is_draining = False
    await transcribe(desk.server.ws_url, VOICE, INT16 | {"api_key": key})


async def test_live_audio_is_counted_and_ends_with_the_hours_of_the_day(desk: Desk) -> None:
    key_id, key = desk.key(audio_hours_per_day=1.0 / 3600)
    await transcribe(desk.server.ws_url, VOICE, INT16 | {"api_key": key})
    refused = await desk.session(key)
    assert code_of(refused) == "RATE_LIMITED"
    assert "hours of audio" in refused.events[0]["message"]
    await desk.server.service.quota.flush()
    (day,) = await asyncio.to_thread(desk.store.usage, key_id)
    assert (day.requests, day.live_seconds) == (1, len(VOICE) / 2 / 16_000)


async def test_sessions_of_one_key_are_counted_by_its_id(tmp_path: Path) -> None:
    async with running_server(FakeRecognizer(), api_keys=(SETTINGS_KEY, "another"), max_sessions_per_key=1) as server:
        desk = Desk(server, KeyStore(None, b""))  # type: ignore[arg-type]
        token = await desk.token(SETTINGS_KEY)
        caller = await desk.session(SETTINGS_KEY)
        assert code_of(await desk.session(query=f"?token={token}")) == "RATE_LIMITED"
        other = await desk.session("another")
        assert code_of(other) == "ready"
        for one in (caller, other):
            await one.send("END")
            assert await one.rest() == 1000
