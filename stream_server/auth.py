"""API keys: who may speak, and what for. It knows keys and credentials, and nothing of HTTP or sockets."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

import sqlalchemy as sa

from stream_protocol.errors import ClientError, ErrorCode, ServerError
from stream_server.keys import KEY_PREFIX, KeyStore, StoredKey, digest_of
from stream_server.settings import Settings
from stream_server.token import Signer, TokenError

logger = logging.getLogger(__name__)

SCHEMES = ("bearer", "token")

TOKEN_PREFIX: Final = "sst_"  # noqa: S105 - what tokens begin with

FRESH_SEC: Final = 5.0
"""For how long an answer of the database is good: a key that is revoked works no longer than this."""

MAX_KNOWN: Final = 10_000
"""Keys that are remembered; the one asked for longest ago makes room."""

DATABASE_PATIENCE: Final = 5.0
"""Seconds that the database may take to answer."""

DATABASE_REST: Final = 1.0
"""Seconds for which a database that has failed is not asked again."""

STATIC_NAME: Final = "(settings)"

THREADS: Final = 2

T = TypeVar("T")


class KeyFileError(Exception):
    """The key file cannot be read; the message says why."""


class Scope(StrEnum):
    """What a key may do."""

    LIVE = "live"
    """Live sessions over the WebSocket."""
    TRANSCRIBE = "transcribe"
    """Files, jobs, speakers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may use; 0 sets no limit."""

    requests_per_minute: int = 0
    concurrent_requests: int = 0
    audio_hours_per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks: ``id`` is the key's id ('' on an open server), ``scopes`` what it may do.

    ``by_token``: it came with a token, which is good for a while only and cannot be exchanged for another.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    limits: Limits
    by_token: bool = False


ANYONE: Final = Caller("", "anyone", frozenset(Scope), Limits())


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    good_until: float


class KeyRing:
    """The keys that are accepted: those of the settings, and those of the database.

    Where there has never been a key, everyone is let in. That ends when the first one is made: at once for whoever
    comes with it, within `FRESH_SEC` seconds for those who come with none. It never begins again by itself, for a
    revoked key counts too: to revoke the last one does not open the server.

    When the database does not answer, it is as it was: keys that have been seen go on working, an open server stays
    open, and nobody else is let in.

    Args:
        keys: keys of the settings, which may do everything.
        secret: the server's secret.
        database: where `stream_server.keys` keeps the others; None for none.
        limits: of keys that have none of their own.
        clock: seconds since the epoch; for tokens, which other servers read too.
        timer: seconds that nobody can set, for what is remembered here.
    """

    def __init__(
        self,
        keys: Iterable[str],
        *,
        secret: bytes,
        database: sa.Engine | None = None,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = secret
        self._limits = limits
        self._clock = clock
        self._timer = timer
        self._tokens = Signer(secret, "browser-token")
        self._store = KeyStore(database, secret) if database is not None else None
        # Digests have one length, so that a comparison tells nothing of a key's.
        self._static = {
            digest_of(secret, key): Caller(static_id(secret, key), STATIC_NAME, frozenset(Scope), limits)
            for key in keys
        }
        self._known: dict[str, _Known] = {}
        self._has_keys = bool(self._static)
        self._open_until = -math.inf
        self._resting_until = -math.inf
        # Of its own: who writes to a database that is locked must not keep live callers out.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="keys")

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def is_open(self) -> bool:
        """Whether everyone is let in.

        Raises:
            ServerError: it cannot be found out.
        """
        if self._has_keys or self._store is None:
            return not self._has_keys
        if self._timer() >= self._open_until:
            try:
                self._has_keys = not await self._ask(self._store.is_empty)
            except ServerError:
                if self._open_until == -math.inf:  # it has never been found out
                    raise
            self._open_until = self._timer() + FRESH_SEC
        return not self._has_keys

    async def authenticate(self, key: str | None, *, token_only: bool = False) -> Caller:
        """The caller with this key or token. ``token_only``: it came where a key might be read by others.

        Raises:
            ClientError: ``AUTH_FAILED``.
            ServerError: ``SERVER_DRAINING``: the database cannot be asked, and the key has not been seen before.
        """
        problem = "an API key is needed: header 'Authorization: Bearer KEY' (or api_key in a session's init message)"
        if key and key.startswith(TOKEN_PREFIX):
            try:
                key_id = self._tokens.read(key.removeprefix(TOKEN_PREFIX), self._clock())
            except TokenError as error:
                problem = str(error)
            else:
                if caller := await self._caller_of_id(key_id):
                    return replace(caller, scopes=caller.scopes & {Scope.LIVE}, by_token=True)
                problem = "the API key of this token is not valid any more"
        elif key and token_only:
            problem = "?token= takes a token of POST /v1/tokens, not an API key"
        elif key:
            if caller := await self._caller_of_key(key):
                return caller
            problem = "this API key is not valid"
        if await self.is_open():
            return ANYONE
        raise ClientError(ErrorCode.AUTH_FAILED, problem)

    def issue_token(self, caller: Caller, lifetime: float) -> tuple[str, int]:
        """A token for live sessions of this key, and when it expires (seconds since the epoch). It is kept nowhere."""
        assert caller.id
        assert not caller.by_token
        expires_at = int(self._clock() + lifetime)
        return TOKEN_PREFIX + self._tokens.sign(caller.id, expires_at), expires_at

    async def _caller_of_key(self, key: str) -> Caller | None:
        digest = digest_of(self._secret, key)
        found = None
        for known, caller in self._static.items():  # all of them, whichever it is
            if hmac.compare_digest(digest, known):
                found = caller
        store = self._store
        if found is not None or store is None or not key.startswith(KEY_PREFIX):
            return found
        return await self._look_up(digest, lambda: store.find(key))

    async def _caller_of_id(self, key_id: str) -> Caller | None:
        store = self._store
        found = next((caller for caller in self._static.values() if caller.id == key_id), None)
        if found is not None or store is None:
            return found
        return await self._look_up(key_id, lambda: store.get(key_id))

    async def _look_up(self, name: str, query: Callable[[], StoredKey | None]) -> Caller | None:
        """A key of the database, by its digest or its id. Only those that are found are remembered, so that a new key
        works at once and made-up ones take no room."""
        known = self._known.get(name)
        if known is not None and self._timer() < known.good_until:
            return known.caller
        try:
            stored = await self._ask(query)
        except ServerError:
            if known is not None:
                return known.caller
            raise
        self._known.pop(name, None)
        if stored is None:
            return None
        self._has_keys = True
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        caller = self._stored_caller(stored)
        self._known[name] = _Known(caller, self._timer() + FRESH_SEC)
        return caller

    async def _ask(self, query: Callable[[], T]) -> T:
        if self._timer() >= self._resting_until:
            try:
                async with asyncio.timeout(DATABASE_PATIENCE):
                    return await asyncio.get_running_loop().run_in_executor(self._threads, query)
            except (sa.exc.SQLAlchemyError, TimeoutError) as error:
                self._resting_until = self._timer() + DATABASE_REST
                logger.warning("API keys cannot be looked up: %s", getattr(error, "orig", None) or type(error).__name__)
        raise ServerError(
            ErrorCode.SERVER_DRAINING, "API keys cannot be checked at the moment; try again", retry_after=FRESH_SEC
        )

    def _stored_caller(self, key: StoredKey) -> Caller:
        def own(value: T | None, default: T) -> T:
            return default if value is None else value

        limits = Limits(
            own(key.requests_per_minute, self._limits.requests_per_minute),
            own(key.concurrent_requests, self._limits.concurrent_requests),
            own(key.audio_hours_per_day, self._limits.audio_hours_per_day),
        )
        return Caller(key.id, key.name, frozenset(Scope(scope) for scope in key.scopes), limits)


def static_id(secret: bytes, key: str) -> str:
    """The id of a key of the settings: the same for as long as the server's secret is."""
    return f"static:{digest_of(secret, key)[:12]}"


def key_of_header(authorization: str | None) -> str | None:
    """The key of an ``Authorization`` header (``Bearer KEY`` or ``Token KEY``); None where there is none."""
    scheme, _, key = (authorization or "").strip().partition(" ")
    return key.strip() or None if scheme.lower() in SCHEMES else None


def limits_of(settings: Settings) -> Limits:
    """The limits of keys that have none of their own."""
    return Limits(settings.requests_per_minute, settings.concurrent_requests, settings.audio_hours_per_day)


def configured_keys(settings: Settings) -> list[str]:
    """The keys of the settings and of their file.

    Raises:
        KeyFileError: see `read_key_file`.
    """
    path = settings.api_key_file
    if path is None and (settings.data_dir / "api-keys").exists():
        path = settings.data_dir / "api-keys"
    return [*settings.api_keys, *(read_key_file(path) if path is not None else ())]


def read_key_file(path: Path) -> list[str]:
    """The keys of a file, one per line.

    Raises:
        KeyFileError: it cannot be read, or holds no key.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"cannot read the API key file {path}: {error}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise KeyFileError(f"the API key file {path} holds no key; put one on a line, or leave the file out")
    return keys
