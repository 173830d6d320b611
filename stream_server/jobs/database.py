"""Opens the database: the engine, its tables, and those of DBOS beside them. It knows nothing of jobs."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from stream_server.jobs.table import SCHEMA_VERSION, jobs, metadata, schema
from stream_server.settings import Settings

logger = logging.getLogger(__name__)

DATABASE_NAME: Final = "stream-server.db"
"""In the data folder."""

LOCK_PATIENCE_SEC: Final = 15.0
"""How long SQLite waits for another process to finish writing before it gives up."""

POSTGRES_PATIENCE: Final = {"connect_timeout": 10, "tcp_user_timeout": 15_000}
"""In seconds and milliseconds: a server that does not answer is known as gone, and asked again."""

DATABASE_AWAY: Final = (sa.exc.OperationalError, sa.exc.TimeoutError)
"""The database cannot be used now, or all of its connections are: what is asked of it may be asked again."""

SHORT_SECRET: Final = 16
"""A secret of fewer characters is worth a warning: it can be tried."""

POOL_SIZE: Final = 8
WORK_POOL_SIZE: Final = 20
"""What DBOS takes by itself."""
MIGRATION_LOCK: Final = 0x53545245
"""Key of PostgreSQL's advisory lock, so that servers that start together make the tables one after another."""

_WRITES: Final = "stream_server_writes"
_FILE: Final = "stream_server_file"


class DatabaseError(Exception):
    """The database cannot be used; the message says why, without the password."""


def database_url(settings: Settings) -> sa.URL:
    """The address of the database; a file in the data folder where the setting names none.

    Raises:
        DatabaseError: neither SQLite nor PostgreSQL, or not an address.
    """
    if not settings.database_url:
        return sa.URL.create("sqlite", database=str(settings.data_dir / DATABASE_NAME))
    try:
        url = sa.make_url(settings.database_url)
    except sa.exc.ArgumentError:
        raise DatabaseError(
            "database_url is not an address; it looks like postgresql://user:password@host/name"
        ) from None
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite")
    if url.get_backend_name() in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise DatabaseError(f"database_url names {url.get_backend_name()}; only sqlite and postgresql are supported")


def has_database(settings: Settings) -> bool:
    """Whether there is a file of SQLite, if only an empty one. PostgreSQL is taken to be there: it says so itself.

    Raises:
        DatabaseError: as `database_url`.
    """
    url = database_url(settings)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def open_database(settings: Settings, *, places: int = 0, create: bool = True) -> sa.Engine:
    """An engine for the database, its tables made where they are missing.

    ``places``: of a worker in this process, each of which may want a connection beside those for everybody else.
    ``create``: make SQLite's file where there is none. Only who is there first may: to anybody else a file that is
    missing was moved away, and an empty one in its place would be taken for it.

    Raises:
        DatabaseError: it cannot be reached, is not there, or was made by another version.
    """
    url = database_url(settings)
    more = max(POOL_SIZE, places)
    is_file = url.get_backend_name() == "sqlite"
    try:
        if is_file:
            assert url.database is not None
            if create:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
                Path(url.database).touch()
            elif not has_database(settings):
                raise DatabaseError(f"there is no database at {url.database}; `stream-server serve` makes one")
            engine = _open_sqlite(url, pool_size=POOL_SIZE, max_overflow=more)
        else:
            engine = sa.create_engine(
                url,
                pool_size=POOL_SIZE,
                max_overflow=more,
                pool_pre_ping=True,
                hide_parameters=True,  # what a statement failed on is not for the log
                connect_args=POSTGRES_PATIENCE,
            )
        try:
            if is_file and not create and not sa.inspect(engine).has_table(schema.name):
                raise DatabaseError(f"{url.database} holds none of our tables; `stream-server serve` makes them")
            _migrate(engine)
            if create or not is_file:  # DBOS opens the file by itself, and would make one
                _migrate_dbos(url)
        except BaseException:
            engine.dispose()
            raise
    except (sa.exc.SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseError(f"cannot open the database {url.render_as_string(hide_password=True)}: {cause}") from error
    return engine


def open_work(settings: Settings) -> sa.Engine | None:
    """DBOS's own connections to SQLite, as it wants them and guarded as ours are; None for PostgreSQL, where it makes
    them itself.

    Raises:
        DatabaseError: as `database_url`.
    """
    url = database_url(settings)
    if url.get_backend_name() != "sqlite":
        return None
    return _sqlite_engine(url, isolation_level="IMMEDIATE", pool_size=WORK_POOL_SIZE, max_overflow=0)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes. SQLite takes its lock at once: one that is upgraded later can fail half-way."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def read_secret(settings: Settings) -> bytes:
    """What keys, tokens and addresses are signed with: the setting, or a file of the data folder that is made once.

    Raises:
        DatabaseError: the file can be neither read nor made.
    """
    if given := settings.secret.get_secret_value():
        if len(given) < SHORT_SECRET:
            logger.warning(
                "STREAM_SERVER_SECRET has %d characters: whoever guesses it can make keys and addresses; "
                "take a longer one (openssl rand -base64 32)",
                len(given),
            )
        return given.encode()
    path = settings.data_dir / "secret"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"secret.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(fresh, path)  # whole or not at all, and never over one that another process has just made
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return path.read_bytes().strip()
    except OSError as error:
        raise DatabaseError(f"cannot keep a secret in {path}: {error.strerror}; set STREAM_SERVER_SECRET") from error


def _open_sqlite(url: sa.URL, **pool: int) -> sa.Engine:
    engine = _sqlite_engine(url, isolation_level=None, **pool)  # transactions begin where we say so

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _sqlite_engine(url: sa.URL, isolation_level: Literal["IMMEDIATE"] | None, **pool: int) -> sa.Engine:
    """Connections to a file that is there; none makes a new one in its place."""
    assert url.database
    path = Path(url.database).absolute()

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            timeout=LOCK_PATIENCE_SEC,
            isolation_level=isolation_level,
            check_same_thread=False,
            uri=True,
        )

    engine = sa.create_engine(url, creator=connect, hide_parameters=True, **pool)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        entry.info[_FILE] = _identity(path)
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "checkout")
    def _check(_: DBAPIConnection, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
        # A file that was deleted can be written for as long as it is open, and is then gone with all that was accepted.
        if entry.info[_FILE] != _identity(path):
            raise sa.exc.DisconnectionError("the file of the database is gone, or is another one")

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> Exception | None:
        # A file that is damaged, or no database: to us of the same kind as one that cannot be opened.
        error = context.original_exception
        if type(error) is not sqlite3.DatabaseError:
            return None
        return sa.exc.OperationalError(context.statement, None, error)

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file that is; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _migrate(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        metadata.create_all(connection)
        found = connection.scalar(sa.select(schema.c.version))
        if found is None:
            connection.execute(schema.insert().values(version=SCHEMA_VERSION))
        elif not 1 <= found <= SCHEMA_VERSION:
            raise DatabaseError(
                f"the database has version {found} of our tables, and this program needs {SCHEMA_VERSION}"
            )
        elif found < SCHEMA_VERSION:
            if found == 1:
                _count_files(connection)
            # Version 2 lacked nothing but the tables of speakers, which are there by now.
            connection.execute(schema.update().values(version=SCHEMA_VERSION))


def _count_files(connection: sa.Connection) -> None:
    """From version 1, in which batches did not know how many files they had been given."""
    connection.execute(sa.text("ALTER TABLE jobs ADD COLUMN files INTEGER NOT NULL DEFAULT 0"))
    file = jobs.alias()
    count = sa.select(sa.func.count()).where(file.c.parent == jobs.c.id).scalar_subquery()
    connection.execute(jobs.update().where(jobs.c.kind == "batch").values(files=count))


def _migrate_dbos(url: sa.URL) -> None:
    from dbos import DBOS

    DBOS.migrate(url.render_as_string(hide_password=False))


def rows(connection: sa.Connection, statement: sa.Executable) -> list[dict[str, Any]]:
    """All rows of a query, as plain values by column."""
    return [dict(row) for row in connection.execute(statement).mappings()]
