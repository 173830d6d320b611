"""The commands ``keys ...``: options to the table of keys, rows to the terminal. It decides nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from stream_server.terminal import print_rows, say

if TYPE_CHECKING:
    from stream_server.keys import KeyStore, StoredKey

app = typer.Typer(help="Make, list and revoke API keys. They are kept in the server's database.", no_args_is_help=True)

MOST: Final = 10**9
"""What a limit may be set to; every database holds it."""


class KeyScope(StrEnum):
    """As `stream_server.auth.Scope`, which is slow to import."""

    live = "live"
    transcribe = "transcribe"


class UnknownKeyError(Exception):
    """There is no valid key of this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no valid key with the id {key_id}; `stream-server keys list` shows them")


DataDirOption = Annotated[Path | None, typer.Option(help="The server's folder, with its database and its secret.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")]


def _limit(text: str) -> Any:
    return typer.Option(min=0, max=MOST, help=text)


@dataclass
class _Desk:
    """What every command works on. ``static``: ids and hints of the keys of the settings."""

    store: KeyStore
    secret: bytes
    static: dict[str, str]
    place: str


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    scope: Annotated[list[KeyScope] | None, typer.Option(help="What it may do; several times for several.")] = None,
    requests_per_minute: Annotated[int | None, _limit("Requests and new sessions; 0 for no limit.")] = None,
    concurrent_requests: Annotated[int | None, _limit("Requests and live sessions at once.")] = None,
    hours_per_day: Annotated[float | None, _limit("Hours of audio, live and files.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, for live sessions and files unless --scope says otherwise. It is shown now and never again."""
    from stream_server.jobs.webhook import webhook_secret

    if not 0 < len(name.strip()) <= 200:
        raise typer.BadParameter("a name has 1 to 200 characters", param_hint="NAME")
    with _desk(data_dir, create=True) as desk:
        stored, key = desk.store.create(
            name.strip(),
            scopes=dict.fromkeys(scope or (KeyScope.live, KeyScope.transcribe)),
            now=time.time(),
            requests_per_minute=requests_per_minute,
            concurrent_requests=concurrent_requests,
            audio_hours_per_day=hours_per_day,
        )
        shown = {"key": key, "id": stored.id, "webhook_secret": webhook_secret(desk.secret, stored.id)}
    if as_json:
        print(json.dumps(shown | {"name": stored.name, "scopes": stored.scopes}))
        return
    for label, value in shown.items():
        print(f"{label.replace('_', ' '):14}  {value}")
    say(f"kept in {desk.place} by its digest: nobody can show the key again")
    say("with the webhook secret, receivers of callbacks can tell that they come from this server")


@app.command("list")
def list_keys(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List the keys, and what they have used today (UTC). Limits that are not shown are the server's."""
    from stream_server.auth import STATIC_NAME, configured_keys
    from stream_server.jobs.database import database_url, has_database
    from stream_server.quota import day_of
    from stream_server.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    if not has_database(settings):
        in_settings = len(configured_keys(settings))
        beside = f", beside the {in_settings} of the settings" if in_settings else ""
        say(f"there are no keys{beside}: there is no database at {database_url(settings).database}")
        if as_json:
            print_rows([], as_json=True)
        return
    with _desk(data_dir) as desk:
        used = {day.key: day for day in desk.store.usage(day=day_of(time.time()))}
        stored = desk.store.all()
    rows = [_row(key) for key in stored]
    rows += [_row(None) | {"id": key_id, "name": STATIC_NAME, "hint": hint} for key_id, hint in desk.static.items()]
    for row in rows:
        today = used.get(row["id"])
        row["requests_today"] = today.requests if today else 0
        row["hours_today"] = round((today.live_seconds + today.file_seconds) / 3600, 3) if today else 0.0
    print_rows(rows if as_json else [_in_short(row) for row in rows], as_json=as_json)


@app.command()
def revoke(key_id: IdArgument, data_dir: DataDirOption = None) -> None:
    """Make a key worthless. Servers take it no longer than five seconds; sessions that are open go on to their end."""
    with _desk(data_dir) as desk:
        if key_id in desk.static:
            raise typer.BadParameter("this key is in the settings or their file; take it out there", param_hint="ID")
        if not desk.store.revoke(key_id, time.time()):
            raise UnknownKeyError(key_id)
        say(f"{key_id} is revoked")
        if not desk.static and all(key.revoked_at is not None for key in desk.store.all()):
            say("there is no valid key left: nobody can use the server until another one is made")


@app.command()
def usage(
    key_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only this key.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what keys have used by day (UTC), the last day first."""
    with _desk(data_dir) as desk:
        rows = [asdict(day) for day in desk.store.usage(key_id)]
    for row in rows:
        row |= {name: round(row[name], 3) for name in ("live_seconds", "file_seconds")}
    print_rows(rows, as_json=as_json)


@app.command("webhook-secret")
def show_webhook_secret(
    key_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The key's id; none on an open server.")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show what the callbacks for a key are signed with."""
    from stream_server.jobs.webhook import webhook_secret

    with _desk(data_dir) as desk:
        if key_id is not None and key_id not in desk.static and desk.store.get(key_id) is None:
            raise UnknownKeyError(key_id)
        print(webhook_secret(desk.secret, key_id or ""))


@contextmanager
def _desk(data_dir: Path | None, *, create: bool = False) -> Iterator[_Desk]:
    """``create``: make the database where there is none, which is an error otherwise."""
    from stream_server.auth import configured_keys, static_id
    from stream_server.jobs.database import database_url, open_database, read_secret
    from stream_server.keys import KeyStore
    from stream_server.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    database = open_database(settings, create=create)  # first: without one, no secret is made either
    try:
        secret = read_secret(settings)
        static = {static_id(secret, key): f"{key[: len(key) // 8]}…" for key in configured_keys(settings)}
        place = database_url(settings).render_as_string(hide_password=True)
        yield _Desk(KeyStore(database, secret), secret, static, place)
    finally:
        database.dispose()


def _row(key: StoredKey | None) -> dict[str, Any]:
    """A key as people read it; None for a key of the settings, which may do everything."""
    return {
        "id": key and key.id,
        "name": key and key.name,
        "hint": key and f"{key.hint}…",
        "scopes": key.scopes if key else tuple(KeyScope),
        "requests_per_minute": key and key.requests_per_minute,
        "concurrent_requests": key and key.concurrent_requests,
        "hours_per_day": key and key.audio_hours_per_day,
        "created_at": key and _time(key.created_at),
        "revoked_at": key and key.revoked_at and _time(key.revoked_at),
    }


def _in_short(row: dict[str, Any]) -> dict[str, Any]:
    """The same in few columns, for a terminal."""
    words = {"requests_per_minute": "{}/min", "concurrent_requests": "{} at once", "hours_per_day": "{:g} h/day"}
    limits = [text.format(row[name]) for name, text in words.items() if row[name] is not None]
    return {
        "id": row["id"],
        "name": row["name"],
        "hint": row["hint"],
        "scopes": row["scopes"],
        "limits": f"revoked {row['revoked_at'][:10]}" if row["revoked_at"] else limits or None,
        "today": f"{row['requests_today']}, {row['hours_today']:g} h",
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
