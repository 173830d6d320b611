"""Which pages may speak to the server: the rule by itself, and over real sockets before anything else is asked."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from stream_server.settings import Settings, SettingsError
from stream_server.transport.origin import for_log, is_allowed
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.wire import Frame, handshake, wire

APP = "https://app.example.com"
KEY = "sk-right"

RULE: list[tuple[str, str, bool, tuple[str, ...], bool]] = [
    # origin, Host, over TLS, allowed origins: allowed?
    ("http://localhost:8000", "localhost:8000", False, (), True),
    ("http://LOCALHOST:8000", "localhost:8000", False, (), True),
    ("http://localhost:8001", "localhost:8000", False, (), False),
    ("http://localhost", "localhost:8000", False, (), False),
    ("http://server", "server:80", False, (), True),
    ("https://server", "server:443", True, (), True),
    ("https://server:443", "server", True, (), True),
    ("https://server", "server", False, (), True),  # behind a proxy that does not tell
    ("http://server", "server", True, (), False),  # who can write this page can read that one's
    ("http://server:443", "server", True, (), False),
    ("http://[::1]:8000", "[::1]:8000", False, (), True),
    ("https://server.evil.example", "server", True, (), False),
    ("https://evilserver", "server", True, (), False),
    ("null", "server", False, (), False),
    ("null", "null", False, (), False),
    ("", "", False, (), False),
    ("://", "", False, (), False),
    ("https://", "", False, (), False),
    ("https://[", "[", False, (), False),
    ("file://", "", False, ("file://",), False),
    ("ftp://server", "server", False, (), False),
    (APP, "server", True, (APP,), True),
    (f"{APP}:443", "server", True, (APP,), True),
    (f"{APP}:8443", "server", True, (APP,), False),
    ("http://app.example.com", "server", True, (APP,), False),
    (f"{APP}.evil.example", "server", True, (APP,), False),
    ("https://server", "server", True, (APP,), True),
    ("capacitor://localhost", "server", True, ("capacitor://localhost",), True),
    ("null", "server", True, ("*",), True),
    ("https://anywhere", "server", True, ("*",), True),
]


@pytest.mark.parametrize(("origin", "host", "is_secure", "allowed", "expected"), RULE)
def test_the_rule(origin: str, host: str, is_secure: bool, allowed: tuple[str, ...], expected: bool) -> None:
    assert is_allowed(origin, host=host, is_secure=is_secure, allowed=allowed) == expected


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://App.Example.com", (APP,)),
        ("https://app.example.com:443, http://localhost:3000", (APP, "http://localhost:3000")),
        ("*", ("*",)),
        ("", ()),
    ],
)
def test_origins_in_the_settings(written: str, read: tuple[str, ...]) -> None:
    assert Settings.load({"STREAM_SERVER_ALLOWED_ORIGINS": written}).allowed_origins == read


@pytest.mark.parametrize(
    "wrong", ["app.example.com", "https://app.example.com/", "null", "https://a b", "https://*.x?"]
)
def test_what_is_no_origin(wrong: str) -> None:
    with pytest.raises(SettingsError, match="allowed_origins"):
        Settings.load({"STREAM_SERVER_ALLOWED_ORIGINS": wrong})


@pytest.mark.parametrize("wrong", ["proxy", "10.0.0.0/33", "10.0.0.1/8"])
def test_what_is_no_proxy(wrong: str) -> None:
    with pytest.raises(SettingsError, match="trusted_proxies"):
        Settings.load({"STREAM_SERVER_TRUSTED_PROXIES": wrong})


# -- the WebSocket -----------------------------------------------------------------------------------------------------


async def status_of(server: Running, *lines: str) -> int:
    async with wire(server.port) as connection:
        await connection.send(handshake(*lines))
        return (await connection.answer()).status


async def test_a_page_of_another_origin_gets_no_socket() -> None:
    async with running_server(FakeRecognizer(), api_keys=(KEY,)) as server:
        async with wire(server.port) as connection:
            await connection.send(handshake(f"Origin: {APP}", f"Authorization: Bearer {KEY}"))
            answer = await connection.answer()
            assert answer.status == 403, "a right key does not help"
            assert answer.error["code"] == "FORBIDDEN"
            assert APP in answer.error["message"]
            assert "allowed_origins" in answer.error["message"]
            assert await connection.ends() == b""
        assert await status_of(server) == 101, "programs send no Origin"
        assert await status_of(server, "Origin: http://server") == 101
        assert await status_of(server, "Origin: null") == 403
        assert await status_of(server, "Origin: http://server", f"Origin: {APP}") == 400
        assert server.service.limit.taken == 0


@pytest.mark.parametrize(
    ("origin", "logged"),
    [
        (APP, APP),
        ("http://[::1]:80", "http://[::1]:80"),
        ("null", "null"),
        ("https://user:password@host:1/path?token=1", "https://host:1"),
        ("https://user@more:password@host", "https://host"),
        ("password", "not an origin"),
        ("https://", "not an origin"),
        ("https://user:password@", "not an origin"),
    ],
)
def test_only_the_host_of_an_origin_is_logged(origin: str, logged: str) -> None:
    assert for_log(origin) == logged


async def test_a_refused_page_is_counted_and_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with running_server(FakeRecognizer()) as server:
        assert await status_of(server, f"Origin: {APP}") == 403
        assert (await ask(server, "GET", "/v1/models", Origin=APP)).status_code == 403
        counted = server.service.metrics.render().decode()
    told = [vars(record) for record in caplog.records if record.message == "request refused"]
    assert [(record["code"], record["origin"]) for record in told] == [("FORBIDDEN", APP)] * 2
    for surface in ("live", "server"):
        assert f'stream_server_errors_total{{code="FORBIDDEN",surface="{surface}"}} 1.0' in counted


async def test_pages_that_are_allowed() -> None:
    async with running_server(FakeRecognizer(), allowed_origins=(APP, "http://localhost:3000")) as server:
        for origin in (APP, "http://localhost:3000", "http://server"):
            assert await status_of(server, f"Origin: {origin}") == 101
        for origin in ("https://example.com", "http://localhost:3001", "null"):
            assert await status_of(server, f"Origin: {origin}") == 403
    async with running_server(FakeRecognizer(), allowed_origins=("*",)) as server:
        for origin in (APP, "null", "chrome-extension://abc"):
            assert await status_of(server, f"Origin: {origin}") == 101


async def test_a_long_origin_is_not_said_back_as_a_whole() -> None:
    async with running_server(FakeRecognizer()) as server, wire(server.port) as connection:
        await connection.send(handshake("Origin: https://" + "x" * 5000))
        answer = await connection.answer()
        assert answer.status == 403
        assert len(answer.body) < 500


# -- HTTP --------------------------------------------------------------------------------------------------------------


async def ask(server: Running, method: str, path: str, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.http_url, trust_env=False) as client:
        return await client.request(method, path, headers={name.replace("_", "-"): headers[name] for name in headers})


async def test_pages_of_other_origins_over_http() -> None:
    """Without the setting no page may read an answer, and none has a request carried out."""
    async with running_server(FakeRecognizer(), api_keys=(KEY,)) as server:
        for method, path in (("POST", "/v1/tokens"), ("GET", "/v1/models"), ("OPTIONS", "/v1/tokens")):
            refused = await ask(server, method, path, Origin=APP, Authorization=f"Bearer {KEY}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
            assert "access-control-allow-origin" not in refused.headers
            assert refused.headers["x-request-id"]
        own = await ask(server, "POST", "/v1/tokens", Origin=server.http_url, Authorization=f"Bearer {KEY}")
        assert own.status_code == 200


async def test_a_page_that_is_allowed_over_http(tmp_path: Path) -> None:
    async with running_server(FakeRecognizer(), api_keys=(KEY,), allowed_origins=(APP,)) as server:
        asked = {
            "Access_Control_Request_Method": "POST",
            "Access_Control_Request_Headers": "authorization,content-type",
        }
        for path in ("/v1/tokens", "/v1/audio/transcriptions"):
            preflight = await ask(server, "OPTIONS", path, Origin=APP, **asked)
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-origin"] == APP
            assert "POST" in preflight.headers["access-control-allow-methods"]
            assert "authorization" in preflight.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in preflight.headers, "there are no cookies to send"
        token = await ask(server, "POST", "/v1/tokens", Origin=APP, Authorization=f"Bearer {KEY}")
        assert token.status_code == 200
        assert token.headers["access-control-allow-origin"] == APP
        assert "Origin" in token.headers["vary"]
        assert "Retry-After" in token.headers["access-control-expose-headers"]
        wrong = await ask(server, "POST", "/v1/tokens", Origin=APP, Authorization="Bearer sk-wrong")
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, APP)
        other = await ask(server, "OPTIONS", "/v1/tokens", Origin="https://example.com", **asked)
        assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)
        async with wire(server.port) as connection:
            await connection.send(handshake(f"Origin: {APP}", first=f"GET /ws?token={token.json()['token']} HTTP/1.1"))
            assert (await connection.answer()).status == 101
            await connection.send(Frame(1, b"{}"))
            assert (await connection.until("ready"))["protocol"]


async def test_a_signed_address_is_good_for_pages_of_any_origin(tmp_path: Path) -> None:
    """Whoever has one may use it: that is what it is for."""
    async with running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere") as server:
        signed = (await ask(server, "GET", "/v1/uploads/signed-url?filename=a.wav")).json()["upload_url"]
        path = signed.removeprefix(server.http_url)
        preflight = await ask(server, "OPTIONS", path, Origin=APP, Access_Control_Request_Method="PUT")
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
        refused = await ask(server, "PUT", path + "x", Origin=APP)
        assert refused.status_code == 403
        assert json.loads(refused.content)["error"]
        assert "not an address for an upload" in refused.text
        listed = await ask(server, "GET", "/v1/uploads/signed-url?filename=a.wav", Origin=APP)
        assert "may not use this server" in listed.text


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "believed"), [(("127.0.0.1",), True), (("127.0.0.0/8",), True), (("10.0.0.1",), False)]
)
async def test_forwarded_headers_of_those_who_may(proxies: tuple[str, ...], believed: bool, tmp_path: Path) -> None:
    async with running_server(
        FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", trusted_proxies=proxies
    ) as server:
        answer = await ask(server, "GET", "/v1/uploads/signed-url?filename=a.wav", X_Forwarded_Proto="https")
        assert answer.json()["upload_url"].startswith("https://" if believed else "http://")
        status = await status_of(server, "Origin: http://server", "X-Forwarded-Proto: https")
        assert status == (403 if believed else 101), "over TLS a page without it is another"
