"""API keys in the database, and what each has used. It knows rows: who is let in, `stream_server.auth` decides."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from stream_server.jobs.database import rows, writing
from stream_server.jobs.table import keys, usage
from stream_server.token import derive

KEY_PREFIX: Final = "ss_"
"""What every key of ours begins with, so that one that was leaked is found by those who scan for such things."""

HINT_CHARACTERS: Final = 6
"""How much of a key is kept for people to tell keys apart by."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it stands in the database. Limits of None are the server's, of 0 none at all; times since the epoch."""

    id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    requests_per_minute: int | None
    concurrent_requests: int | None
    audio_hours_per_day: float | None
    created_at: float
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What a key has used on one day (UTC, ISO 8601)."""

    key: str
    day: str
    requests: int
    live_seconds: float
    file_seconds: float


def digest_of(secret: bytes, key: str) -> str:
    """What is kept of a key: hexadecimal HMAC-SHA256. Without the secret nothing can be tried against it."""
    return hmac.digest(derive(secret, "api-key"), key.encode("utf-8", "surrogatepass"), "sha256").hex()


class KeyStore:
    """The table of keys. Every method asks the database, so call them outside the event loop.

    Raises, from every method:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be used.
    """

    def __init__(self, engine: sa.Engine, secret: bytes) -> None:
        self._engine = engine
        self._secret = secret

    def create(
        self,
        name: str,
        *,
        scopes: Iterable[str],
        now: float,
        requests_per_minute: int | None = None,
        concurrent_requests: int | None = None,
        audio_hours_per_day: float | None = None,
    ) -> tuple[StoredKey, str]:
        """A new key: its row, and the key itself, which nobody can find out again."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        stored = StoredKey(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            hint=key[:HINT_CHARACTERS],
            scopes=tuple(scopes),
            requests_per_minute=requests_per_minute,
            concurrent_requests=concurrent_requests,
            audio_hours_per_day=audio_hours_per_day,
            created_at=now,
            revoked_at=None,
        )
        values = {column: getattr(stored, column) for column in StoredKey.__slots__}
        values |= {"scopes": " ".join(stored.scopes), "digest": digest_of(self._secret, key)}
        with writing(self._engine) as connection:
            connection.execute(keys.insert().values(values))
        return stored, key

    def find(self, key: str) -> StoredKey | None:
        """The row of a key, unless it is revoked."""
        # Looked up by its digest: how long that takes tells nothing about a key that somebody makes up.
        return self._find(keys.c.digest == digest_of(self._secret, key))

    def get(self, key_id: str) -> StoredKey | None:
        """The row of the key with this id, unless it is revoked."""
        return self._find(keys.c.id == key_id)

    def all(self) -> list[StoredKey]:
        """All keys, the oldest first, those that are revoked included."""
        with self._engine.connect() as connection:
            return [_stored(row) for row in rows(connection, sa.select(keys).order_by(keys.c.created_at, keys.c.id))]

    def revoke(self, key_id: str, now: float) -> bool:
        """Make a key worthless; False where there is none of this id that is still good."""
        statement = keys.update().where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now)
        with writing(self._engine) as connection:
            return connection.execute(statement).rowcount > 0

    def is_empty(self) -> bool:
        """Whether there has never been a key."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(keys.c.id).limit(1)) is None

    def usage(self, key_id: str | None = None, day: str | None = None) -> list[DayUsage]:
        """What keys have used, the last day first; of one key, or on one day, where they are given."""
        statement = sa.select(usage).order_by(usage.c.day.desc(), usage.c.api_key)
        if key_id is not None:
            statement = statement.where(usage.c.api_key == key_id)
        if day is not None:
            statement = statement.where(usage.c.day == day)
        with self._engine.connect() as connection:
            found = rows(connection, statement)
        return [DayUsage(key=row.pop("api_key"), **row) for row in found]

    def _find(self, condition: sa.ColumnElement[bool]) -> StoredKey | None:
        with self._engine.connect() as connection:
            found = rows(connection, sa.select(keys).where(condition, keys.c.revoked_at.is_(None)))
        return _stored(found[0]) if found else None


def _stored(row: dict[str, Any]) -> StoredKey:
    del row["digest"]
    return StoredKey(**(row | {"scopes": tuple(row["scopes"].split())}))
