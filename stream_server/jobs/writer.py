"""Writes what comes into a store, a part at a time. It knows neither rows nor owners of objects."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from stream_server.jobs.arrival import Arrival
from stream_server.jobs.error import JobError, Reason

logger = logging.getLogger(__name__)

PART_BYTES: Final = 5 * 2**20
"""What is written at a time; S3 takes no smaller parts."""
PARTS_AT_ONCE: Final = 2

STORE_ERRORS: Final = (BaseError, OSError)
"""What a store raises that cannot be used."""


async def write(store: LocalStore | S3Store, name: str, chunks: AsyncIterator[bytes], received: Arrival) -> None:
    """Write all of ``chunks``, as far as ``received`` takes them.

    Raises:
        JobError: what `Arrival` raises; SERVICE_UNAVAILABLE if the store cannot be written.
    """
    # Not as a context manager: that would close twice. A writer that is dropped removes what it has written.
    writer = obstore.open_writer_async(store, name, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
    try:
        async for chunk in chunks:
            data = received.take(chunk)
            with _store_errors(name):
                await writer.write(data)
        rest = received.finish()
        with _store_errors(name):
            await writer.write(rest)
            await writer.close()
    finally:
        del writer  # whoever keeps an error keeps this frame, and the disk would stay full


def write_sync(store: LocalStore | S3Store, name: str, chunks: Iterator[bytes], received: Arrival) -> None:
    """The same from a thread."""
    writer = obstore.open_writer(store, name, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
    try:
        for chunk in chunks:
            data = received.take(chunk)
            with _store_errors(name):
                writer.write(data)
        rest = received.finish()
        with _store_errors(name):
            writer.write(rest)
            writer.close()
    finally:
        del writer


@contextmanager
def _store_errors(name: str) -> Iterator[None]:
    try:
        yield
    except STORE_ERRORS as error:
        logger.error("the object store cannot be written: %s", error, extra={"object": name})
        raise JobError(Reason.SERVICE_UNAVAILABLE, "the file cannot be stored just now") from error
