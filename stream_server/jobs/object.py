"""Keeps audio until its job is done: in a folder or on S3, every object with a row that is there before its first byte.

So whatever is killed, and whenever, what it left behind is found by its row. It knows the format and the size of an
object, and what may be deleted; not what a job is, nor who may have what.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import obstore
import sqlalchemy as sa
from obstore.store import LocalStore, S3Store

from stream_server.jobs.arrival import Arrival
from stream_server.jobs.database import writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.reader import ObjectFile, open_object
from stream_server.jobs.table import objects
from stream_server.jobs.thread import undivided
from stream_server.jobs.writer import STORE_ERRORS, write, write_sync
from stream_server.settings import Settings

if TYPE_CHECKING:
    from obstore.store import RetryConfig

logger = logging.getLogger(__name__)

S3_PATIENCE: Final[RetryConfig] = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
"""For one request: who uploads is told to come again before it takes us for dead."""

_NAME: Final = re.compile("[0-9a-f]{32}")
_AT_REST: Final = objects.c.size.is_not(None) | (objects.c.owner == "")
"""Nobody is receiving it: its size is known, or nothing has come yet."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """``name``: in the store; ``size`` in bytes; ``format`` as `stream_server.audio.type.detect` names it."""

    name: str
    size: int
    format: str


class ObjectStore:
    """The audio of uploads and downloads.

    owner: the id of this process; what it is receiving is its own until it counts as dead. Methods that are not
    coroutines block, and belong into a thread.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, settings: Settings, engine: sa.Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._expiry = settings.upload_expiry
        self._lock = threading.Lock()
        self._abandoned: dict[str, bool] = {}
        self._folder: Path | None = None
        self._store: LocalStore | S3Store
        if settings.object_store.startswith("s3://"):
            self._store = S3Store.from_url(settings.object_store, retry_config=S3_PATIENCE)
        else:
            self._folder = Path(settings.object_store) if settings.object_store else settings.data_dir / "objects"
            self._store = LocalStore(self._folder, mkdir=True)

    def await_upload(self, *, key: str) -> str:
        """The name of an object that is to be received later, once, within ``upload_expiry``."""
        name = uuid.uuid4().hex
        with writing(self._engine) as connection:
            connection.execute(
                objects.insert().values(
                    name=name,
                    state="awaited",
                    owner="",
                    api_key=key,
                    created_at=time.time(),
                    expires_at=time.time() + self._expiry,
                )
            )
        return name

    async def receive(
        self, chunks: AsyncIterator[bytes], *, key: str, most: int, name: str | None = None
    ) -> StoredObject:
        """Store what comes, as it comes. Whatever goes wrong, also in ``chunks``, leaves nothing behind.

        key: who owns it. most: bytes. name: one of `await_upload`, which can be tried again after a failure.

        Raises:
            JobError: FILE_TOO_LARGE; UNSUPPORTED_FORMAT, as soon as the first bytes tell, and for an empty file;
                NOT_FOUND or CONFLICT for a ``name`` that is unknown, has expired or has been used;
                SERVICE_UNAVAILABLE if the store cannot be written.
        """
        received = Arrival(most)
        is_awaited, name = name is not None, name or uuid.uuid4().hex
        await undivided(self._begin, name, key, None, is_awaited)
        try:
            await write(self._store, name, chunks, received)
            return await undivided(self._finish, name, None, received)
        except BaseException:  # also where the request was cancelled
            await undivided(self._abandon, name, is_awaited)
            raise

    def receive_sync(self, chunks: Iterator[bytes], *, key: str, job: str | None, most: int) -> StoredObject:
        """The same from a thread, for ``job``."""
        received, name = Arrival(most), uuid.uuid4().hex
        self._begin(name, key, job, False)
        try:
            write_sync(self._store, name, chunks, received)
            return self._finish(name, job, received)
        except BaseException:
            self._abandon(name, False)
            raise

    def open(self, name: str) -> ObjectFile:
        """The object as a file that can seek; what is read of it is read by ranges. `ObjectFile.check` it at the end.

        Raises:
            JobError: NOT_FOUND, or SERVICE_UNAVAILABLE if the store cannot be read.
        """
        if not _NAME.fullmatch(name):
            raise JobError(Reason.NOT_FOUND, "there is no such upload")
        try:
            return open_object(self._store, name)
        except FileNotFoundError:
            raise JobError(Reason.NOT_FOUND, "there is no such upload, or it has been deleted") from None
        except STORE_ERRORS as error:
            logger.exception("the object store cannot be read")
            raise JobError(Reason.SERVICE_UNAVAILABLE, "the audio cannot be read just now") from error

    def find(self, name: str, *, key: str, unclaimed_only: bool = False) -> StoredObject:
        """What is known of an object of this owner. ``unclaimed_only``: not of one that belongs to a job.

        Raises:
            JobError: NOT_FOUND, also for the objects of others and those that have not come yet.
        """
        mine = (objects.c.name == name) & (objects.c.api_key == key) & (objects.c.state == "stored")
        if unclaimed_only:
            mine &= objects.c.job.is_(None)
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(objects.c.size, objects.c.format).where(mine)).first()
        if row is None:
            raise JobError(Reason.NOT_FOUND, "there is no such upload: not finished yet, used before, or expired")
        return StoredObject(name, row.size, row.format)

    def drop(self, names: Sequence[str], *, unclaimed_only: bool = False) -> None:
        """Delete objects; those that are gone are no error. ``unclaimed_only``: not those that belong to a job.

        What another process is still receiving is marked, and deleted by that process or, if it dies, by `collect`.
        """
        condition: sa.ColumnElement[bool] = objects.c.name.in_(names)
        if unclaimed_only:
            condition &= objects.c.job.is_(None)
        with writing(self._engine) as connection:
            connection.execute(objects.update().where(condition).values(state="garbage"))
        self._remove_garbage(objects.c.name.in_(names) & _AT_REST)

    def collect(self, dead_owners: Collection[str]) -> int:
        """Delete what nobody will ask for again: garbage, what has expired, and what dead processes were receiving.

        Returns how many objects that were.
        """
        dead = objects.c.owner.in_(dead_owners)
        expired = objects.c.state.in_(("awaited", "stored")) & (objects.c.expires_at < time.time())
        with writing(self._engine) as connection:
            connection.execute(
                objects.update().where(expired | (dead & (objects.c.state == "receiving"))).values(state="garbage")
            )
        return self._remove_garbage(_AT_REST | dead)

    def _begin(self, name: str, key: str, job: str | None, is_awaited: bool) -> None:
        self._abandon_again()
        if not is_awaited:
            values = {"name": name, "state": "receiving", "owner": self._owner, "api_key": key, "job": job}
            with writing(self._engine) as connection:
                connection.execute(objects.insert().values(**values, created_at=time.time()))
            return
        mine = (objects.c.name == name) & (objects.c.api_key == key)
        open_now = mine & (objects.c.state == "awaited") & (objects.c.expires_at >= time.time())
        with writing(self._engine) as connection:
            if connection.execute(
                objects.update().where(open_now).values(state="receiving", owner=self._owner)
            ).rowcount:
                return
            state = connection.scalar(sa.select(objects.c.state).where(mine))
        if state in ("receiving", "stored"):
            raise JobError(Reason.CONFLICT, "a file has been uploaded to this address; ask for another one")
        raise JobError(Reason.NOT_FOUND, "this address for an upload is unknown, or it has expired")

    def _finish(self, name: str, job: str | None, received: Arrival) -> StoredObject:
        stored = StoredObject(name, received.size, received.format)
        mine = (objects.c.name == name) & (objects.c.state == "receiving")
        expiry = time.time() + self._expiry if job is None else None
        values = {"state": "stored", "size": stored.size, "format": stored.format, "expires_at": expiry}
        with writing(self._engine) as connection:
            if not connection.execute(objects.update().where(mine).values(**values)).rowcount:
                raise JobError(Reason.CONFLICT, "the file was deleted while it was received")
        return stored

    def _abandon(self, name: str, is_awaited: bool) -> None:
        """Nothing is being received under this name any more.

        The file first: a disk that is full takes no other news, and has room again when it is gone.
        """
        with suppress(*STORE_ERRORS):  # tried again with the row
            self._remove_file(name)
        try:
            self._forget(name, is_awaited)
        except sa.exc.SQLAlchemyError:
            logger.exception("what was received of %s cannot be forgotten; tried again before the next file", name)
            with self._lock:
                self._abandoned[name] = is_awaited

    def _forget(self, name: str, is_awaited: bool) -> None:
        if is_awaited:
            values: dict[str, Any] = {"state": "awaited", "owner": ""}
            mine = (objects.c.name == name) & (objects.c.state == "receiving")
            with writing(self._engine) as connection:
                if connection.execute(objects.update().where(mine).values(**values)).rowcount:
                    return
        with writing(self._engine) as connection:
            connection.execute(objects.update().where(objects.c.name == name).values(state="garbage", size=0))
        self._remove_garbage(objects.c.name == name)

    def _abandon_again(self) -> None:
        with self._lock:
            left, self._abandoned = self._abandoned, {}
        for name, is_awaited in left.items():
            self._abandon(name, is_awaited)

    def _remove_garbage(self, condition: sa.ColumnElement[bool]) -> int:
        with self._engine.connect() as connection:
            names = connection.scalars(
                sa.select(objects.c.name).where(condition & (objects.c.state == "garbage"))
            ).all()
        return sum(self._remove(name) for name in names)

    def _remove(self, name: str) -> bool:
        try:
            self._remove_file(name)
        except STORE_ERRORS as error:
            logger.warning("the object %s cannot be deleted; this will be tried again: %s", name, error)
            return False
        with writing(self._engine) as connection:
            connection.execute(objects.delete().where((objects.c.name == name) & (objects.c.state == "garbage")))
        return True

    def _remove_file(self, name: str) -> None:
        if self._folder is not None and not self._folder.is_dir():
            raise FileNotFoundError(f"the folder {self._folder} is not there")  # and may come back with the file in it
        with suppress(FileNotFoundError):
            obstore.delete(self._store, name)
        if self._folder is not None:  # what was being written when a process was killed
            for number in itertools.count(1):
                part = self._folder / f"{name}#{number}"
                if not part.exists():
                    break
                part.unlink()
