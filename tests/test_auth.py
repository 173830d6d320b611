"""Who is let in, and as whom: keys of the settings, keys of the database, tokens, and a database that is gone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from stream_protocol.errors import ErrorCode, ServerError, StreamError
from stream_server import auth
from stream_server.auth import ANYONE, Caller, KeyRing, Limits, Scope, key_of_header, read_key_file, static_id
from stream_server.jobs.database import open_database
from stream_server.keys import KeyStore
from stream_server.settings import Settings

SECRET = b"a secret of the server"
NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_database(Settings.load({}, data_dir=tmp_path))
    yield engine
    engine.dispose()


@pytest.fixture
def store(database: sa.Engine) -> KeyStore:
    return KeyStore(database, SECRET)


@pytest.fixture
def ring(database: sa.Engine, clock: Clock) -> KeyRing:
    return KeyRing([], secret=SECRET, database=database, limits=Limits(60, 10, 100.0), clock=clock, timer=clock)


def make(store: KeyStore, *scopes: Scope, requests_per_minute: int | None = None) -> tuple[str, str]:
    stored, key = store.create("desk", scopes=scopes, now=NOW, requests_per_minute=requests_per_minute)
    return stored.id, key


async def refused(ring: KeyRing, key: str | None, *, token_only: bool = False) -> str:
    with pytest.raises(StreamError) as caught:
        await ring.authenticate(key, token_only=token_only)
    assert caught.value.code is ErrorCode.AUTH_FAILED
    assert key is None or len(key) < 4 or key not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer abc", "abc"),
        ("token abc ", "abc"),
        ("BEARER  a b", "a b"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_the_key_of_a_header(header: str | None, key: str | None) -> None:
    assert key_of_header(header) == key


async def test_keys_of_the_settings() -> None:
    ring = KeyRing(["one", "zwölf"], secret=SECRET, limits=Limits(7))
    assert not await ring.is_open()
    caller = await ring.authenticate("zwölf")
    assert caller == Caller(static_id(SECRET, "zwölf"), "(settings)", frozenset(Scope), Limits(7))
    assert caller.id != (await ring.authenticate("one")).id
    for missing in (None, ""):
        assert "an API key is needed" in await refused(ring, missing)
    for wrong in ("two", "on", "one ", "ONE", "\udcff", "sst_x", "ss_" + "x" * 43):
        assert "not" in await refused(ring, wrong)


async def test_a_server_without_keys_is_open() -> None:
    ring = KeyRing([], secret=SECRET)
    assert await ring.is_open()
    for key in (None, "", "whatever", "sst_whatever"):
        assert await ring.authenticate(key) is ANYONE


async def test_a_key_of_the_database(ring: KeyRing, store: KeyStore) -> None:
    key_id, key = make(store, Scope.LIVE, Scope.TRANSCRIBE, requests_per_minute=0)
    caller = await ring.authenticate(key)
    assert caller == Caller(key_id, "desk", frozenset({Scope.LIVE, Scope.TRANSCRIBE}), Limits(0, 10, 100.0))
    await refused(ring, key + "x")
    await refused(ring, key[:-1])
    await refused(ring, key_id)


async def test_a_new_key_works_at_once_also_after_it_was_refused(
    ring: KeyRing, store: KeyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    drawn = "x" * 43
    await refused(ring, "ss_" + drawn)
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: drawn)
    make(store)
    assert (await ring.authenticate("ss_" + drawn)).name == "desk"


async def test_a_revoked_key_stops_within_five_seconds(ring: KeyRing, store: KeyStore, clock: Clock) -> None:
    key_id, key = make(store, Scope.LIVE)
    await ring.authenticate(key)
    token, _ = ring.issue_token(await ring.authenticate(key), 60)
    await ring.authenticate(token)
    store.revoke(key_id, NOW)
    clock.now += 5
    await refused(ring, key)
    assert "of this token is not valid" in await refused(ring, token)


async def test_the_server_closes_with_its_first_key_and_stays_closed(
    ring: KeyRing, store: KeyStore, clock: Clock
) -> None:
    assert await ring.is_open()
    assert await ring.authenticate(None) is ANYONE
    key_id, _ = make(store)
    clock.now += 5
    assert not await ring.is_open()
    await refused(ring, None)
    store.revoke(key_id, NOW)
    clock.now += 500
    await refused(ring, None)
    restarted = KeyRing([], secret=SECRET, database=store._engine, clock=clock, timer=clock)
    assert not await restarted.is_open()


async def test_who_comes_with_the_first_key_closes_the_server_at_once(ring: KeyRing, store: KeyStore) -> None:
    assert await ring.authenticate(None) is ANYONE
    key_id, key = make(store)
    assert (await ring.authenticate(key)).id == key_id
    await refused(ring, None)


async def test_when_the_database_is_gone_known_keys_go_on_and_nobody_else_comes_in(
    ring: KeyRing, store: KeyStore, clock: Clock, database: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    _, known = make(store)
    _, unknown = make(store)
    await ring.authenticate(known)
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE api_keys RENAME TO elsewhere"))
    clock.now += 100
    with caplog.at_level(logging.WARNING):
        assert (await ring.authenticate(known)).name == "desk"
        with pytest.raises(ServerError) as caught:
            await ring.authenticate(unknown)
    assert (caught.value.rule.http_status, caught.value.retry_after) == (503, 5.0)
    assert "cannot be looked up: no such table" in caplog.text
    assert len(caplog.records) == 1  # it is not asked again for a moment
    assert unknown not in caplog.text
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO api_keys"))
    clock.now += 1
    assert (await ring.authenticate(unknown)).name == "desk"


async def test_an_open_server_stays_open_without_its_database_and_none_becomes_open(
    ring: KeyRing, clock: Clock, database: sa.Engine
) -> None:
    assert await ring.authenticate(None) is ANYONE
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE api_keys"))
    clock.now += 5
    assert await ring.authenticate(None) is ANYONE, "live callers do not hang on a database that is away"
    unasked = KeyRing((), secret=b"secret", database=database, clock=clock, timer=clock)
    with pytest.raises(ServerError, match="cannot be checked"):
        await unasked.authenticate(None)


async def test_a_token_stands_for_its_key(ring: KeyRing, store: KeyStore, clock: Clock) -> None:
    key_id, key = make(store, Scope.LIVE, Scope.TRANSCRIBE, requests_per_minute=3)
    token, expires_at = ring.issue_token(await ring.authenticate(key), 60)
    assert expires_at == NOW + 60
    caller = await ring.authenticate(token, token_only=True)
    assert caller == Caller(key_id, "desk", frozenset({Scope.LIVE}), Limits(3, 10, 100.0), by_token=True)
    assert await ring.authenticate(token) == caller
    clock.now = expires_at
    assert "expired" in await refused(ring, token)


async def test_a_token_of_a_key_of_the_settings() -> None:
    ring = KeyRing(["one"], secret=SECRET)
    token, _ = ring.issue_token(await ring.authenticate("one"), 60)
    assert (await ring.authenticate(token)).id == static_id(SECRET, "one")
    another = KeyRing(["two"], secret=SECRET)
    assert "of this token is not valid" in await refused(another, token)
    elsewhere = KeyRing(["one"], secret=b"another secret")
    assert "not a token of this server" in await refused(elsewhere, token)


async def test_a_token_grants_nothing_that_its_key_does_not(ring: KeyRing, store: KeyStore) -> None:
    _, key = make(store, Scope.TRANSCRIBE)
    token, _ = ring.issue_token(await ring.authenticate(key), 60)
    assert (await ring.authenticate(token)).scopes == frozenset()


async def test_a_key_where_only_a_token_belongs() -> None:
    ring = KeyRing(["one"], secret=SECRET)
    assert "takes a token" in await refused(ring, "one", token_only=True)


async def test_few_keys_are_remembered(
    ring: KeyRing, store: KeyStore, monkeypatch: pytest.MonkeyPatch, database: sa.Engine
) -> None:
    monkeypatch.setattr(auth, "MAX_KNOWN", 2)
    keys = [make(store)[1] for _ in range(3)]
    for key in keys:
        await ring.authenticate(key)
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM api_keys"))
    await refused(ring, keys[0])
    assert (await ring.authenticate(keys[2])).name == "desk"


def test_a_key_file_written_by_a_windows_editor(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first\nsecond\n", encoding="utf-8-sig")
    assert read_key_file(path) == ["first", "second"]
