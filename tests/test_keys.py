"""Keys in the database, and the commands that make, list and revoke them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from stream_server.cli import main
from stream_server.jobs.database import open_database, read_secret
from stream_server.keys import DayUsage, KeyStore, digest_of
from stream_server.quota import day_of, record_usage
from stream_server.settings import Settings
from tests.support.postgres import BOTH

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command line against the database of the test: exit status, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("STREAM_SERVER_DATA_DIR", str(settings.data_dir))
    if settings.database_url:
        monkeypatch.setenv("STREAM_SERVER_DATABASE_URL", settings.database_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stream-server", "keys", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        written = capsys.readouterr()
        return int(exit_.value.code or 0), written.out, written.err

    before = os.umask(0o022)  # the commands change it
    yield call
    os.umask(before)


def created(run: Run, *arguments: str) -> dict[str, Any]:
    status, out, _ = run("create", *arguments, "--json")
    assert status == 0
    values: dict[str, Any] = json.loads(out)
    return values


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run(*(arguments or ("list",)), "--json")[1])
    return rows


@BOTH
def test_a_key_is_found_by_itself_until_it_is_revoked(database: sa.Engine) -> None:
    store = KeyStore(database, b"secret")
    assert store.is_empty()
    stored, key = store.create("desk", scopes=("live", "transcribe"), now=100.0, concurrent_requests=0)
    assert key.startswith("ss_")
    assert len(key) == len("ss_") + 43
    assert (stored.hint, stored.scopes, stored.concurrent_requests) == (key[:6], ("live", "transcribe"), 0)
    assert store.find(key) == store.get(stored.id) == stored
    assert KeyStore(database, b"another").find(key) is None
    assert store.revoke(stored.id, 200.0)
    assert not store.revoke(stored.id, 300.0)
    assert store.find(key) is None
    assert store.get(stored.id) is None
    assert [(row.id, row.revoked_at) for row in store.all()] == [(stored.id, 200.0)]
    assert not store.is_empty()


@BOTH
def test_nothing_in_the_database_gives_the_key_away(database: sa.Engine) -> None:
    _, key = KeyStore(database, b"secret").create("desk", scopes=("live",), now=1.0)
    with database.connect() as connection:
        row = str(connection.execute(sa.text("SELECT * FROM api_keys")).all())
    assert digest_of(b"secret", key) in row
    assert key[:7] not in row
    assert "secret" not in row


@BOTH
@pytest.mark.parametrize("name", ["'; DROP TABLE api_keys; --", "../../etc", "名前", "a\nb"])
def test_names_are_only_names(database: sa.Engine, name: str) -> None:
    store = KeyStore(database, b"secret")
    stored, _ = store.create(name, scopes=(), now=1.0)
    assert [row.name for row in store.all()] == [name]
    assert store.get("' OR ''='") is None
    assert not store.revoke("' OR ''='", 2.0)
    assert store.get(stored.id) == stored


@BOTH
def test_usage_by_day(database: sa.Engine) -> None:
    store = KeyStore(database, b"secret")
    for key, day, seconds in (("a", 1, 10.0), ("a", 2, 20.0), ("b", 2, 30.0), ("a", 2, 0.5)):
        record_usage(database, key, file_seconds=seconds, now=day * 86_400.0)
    assert store.usage("a") == [
        DayUsage("a", "1970-01-03", 0, 0.0, 20.5),
        DayUsage("a", "1970-01-02", 0, 0.0, 10.0),
    ]
    assert [row.key for row in store.usage(day="1970-01-03")] == ["a", "b"]


def test_create_shows_the_key_once(run: Run, settings: Settings, database: sa.Engine) -> None:
    status, out, err = run("create", "desk")
    assert status == 0
    shown = dict(line.split("  ", 1) for line in out.splitlines())
    key, key_id, secret = (value.strip() for value in shown.values())
    stored = KeyStore(database, read_secret(settings)).find(key)
    assert stored is not None
    assert (stored.id, stored.scopes) == (key_id, ("live", "transcribe"))
    assert "nobody can show the key again" in err
    assert ":@" not in err
    Webhook(secret)  # a receiver can be made of it
    assert run("webhook-secret", key_id)[1].strip() == secret
    assert key not in run("list")[1]


@BOTH
def test_scopes_and_limits(run: Run) -> None:
    scopes = ("--scope", "live", "--scope", "transcribe", "--scope", "live")
    limits = ("--requests-per-minute", "60", "--concurrent-requests", "0", "--hours-per-day", "1.5")
    key = created(run, "desk", *scopes, *limits)
    assert key["scopes"] == ["live", "transcribe"]
    (row,) = listed(run)
    assert row["scopes"] == ["live", "transcribe"]
    assert (row["requests_per_minute"], row["concurrent_requests"], row["hours_per_day"]) == (60, 0, 1.5)
    assert (row["id"], row["hint"], row["revoked_at"]) == (key["id"], key["key"][:6] + "…", None)
    table = run("list")[1]
    assert all(part in table for part in (key["id"], "live, transcribe", "60/min, 0 at once, 1.5 h/day"))


@BOTH
def test_what_was_used_today_and_before(run: Run, database: sa.Engine) -> None:
    key_id = created(run, "desk")["id"]
    record_usage(database, key_id, file_seconds=5400.0)
    record_usage(database, key_id, file_seconds=60.0, now=0.0)
    assert [(row["requests_today"], row["hours_today"]) for row in listed(run)] == [(0, 1.5)]
    days = listed(run, "usage", key_id)
    assert [(row["day"], row["file_seconds"]) for row in days] == [
        (day_of(time.time()), 5400.0),
        ("1970-01-01", 60.0),
    ]
    assert listed(run, "usage", "key_nobody") == []


def test_revoke(run: Run) -> None:
    first, second = created(run, "one")["id"], created(run, "two")["id"]
    status, out, err = run("revoke", first)
    assert (status, out, err.strip()) == (0, "", f"{first} is revoked")
    status, _, err = run("revoke", first)
    assert status == 1
    assert f"no valid key with the id {first}" in err
    assert "nobody can use the server" in run("revoke", second)[2]
    assert all(row["revoked_at"] for row in listed(run))
    assert run("webhook-secret", first)[0] == 1


def test_keys_of_the_settings_are_listed_and_not_revoked_here(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(settings).dispose()  # as the server does
    monkeypatch.setenv("STREAM_SERVER_API_KEYS", "a-long-key-of-the-settings")
    (row,) = listed(run)
    assert row["id"].startswith("static:")
    assert row["hint"] == "a-l…"
    status, _, err = run("revoke", row["id"])
    assert status == 2
    assert "in the settings" in err
    assert run("webhook-secret", row["id"])[1] != run("webhook-secret")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", " "),
        ("create", "n" * 201),
        ("create", "desk", "--scope", "everything"),
        ("create", "desk", "--requests-per-minute", "-1"),
        ("create", "desk", "--requests-per-minute", "99999999999"),
        ("create", "desk", "--hours-per-day", "nan"),
        ("create", "desk", "--hours-per-day", "inf"),
        ("revoke",),
        ("usage", "--nonsense"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert listed(run) == []


def test_a_database_that_cannot_be_opened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SERVER_DATABASE_URL", "postgresql://user:hunter2@127.0.0.1:1/none")
    status, _, err = run("list")
    assert status == 1
    assert "cannot open the database" in err
    assert "hunter2" not in err


@pytest.mark.parametrize("command", [("list",), ("usage",), ("revoke", "key_1"), ("webhook-secret",)])
def test_only_create_makes_a_database(
    command: tuple[str, ...], settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is missing may have been moved away; an empty one in its place would be taken for it."""
    folder = settings.data_dir / "new"
    monkeypatch.setenv("STREAM_SERVER_DATA_DIR", str(folder))
    status, out, err = run(*command)
    assert (status, out) == (0 if command == ("list",) else 1, "")
    assert "there are no keys" in err or "there is no database" in err
    assert str(folder) in err
    assert not folder.exists()
    if command == ("list",):
        assert listed(run) == []
    assert run("create", "desk")[0] == 0
    assert [row["name"] for row in listed(run)] == ["desk"]


def test_keys_of_the_settings_are_not_denied_where_there_is_no_database(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_SERVER_API_KEYS", '["sk-one"]')
    _, _, err = run("list")
    assert "beside the 1 of the settings" in err
    assert list(settings.data_dir.iterdir()) == []
