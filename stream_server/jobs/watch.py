"""Waits for jobs on the event loop: one question to the database for all who wait, a few times a second."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextvars import Context
from typing import Final

import sqlalchemy as sa

from stream_server.jobs.store import JobStore, Standing

logger = logging.getLogger(__name__)

INTERVAL_SEC: Final = 0.05
LONGEST_INTERVAL_SEC: Final = 1.0
"""While the database is away."""


class Watch:
    """Asks only while somebody waits. Belongs to one event loop."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._wanted: Counter[str] = Counter()
        self._asked: frozenset[str] = frozenset()
        self._standings: dict[str, Standing] = {}
        self._turned = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None

    async def change(self, job: str, known: Standing | None) -> Standing | None:
        """Wait until the job is no longer as ``known``; None once it is gone."""
        self._wanted[job] += 1
        try:
            while True:
                turned = self._turned
                if self._asking is None:
                    # Not in the context of whoever happens to be the first: its ids are not those of the others.
                    self._asking = asyncio.create_task(self._ask(), context=Context())
                await turned.wait()
                # An answer that was under way already when this job joined says nothing of it.
                if job in self._asked and self._standings.get(job) != known:
                    return self._standings.get(job)
        finally:
            self._wanted[job] -= 1
            if not self._wanted[job]:
                del self._wanted[job]

    async def _ask(self) -> None:
        try:
            pause = INTERVAL_SEC
            while self._wanted:
                asked = frozenset(self._wanted)
                try:
                    standings = await asyncio.to_thread(self._store.standings, asked)
                except sa.exc.SQLAlchemyError as error:  # who waits goes on waiting, until it has had enough
                    if pause == INTERVAL_SEC:
                        logger.warning("cannot look after jobs: %s", error)
                    pause = LONGEST_INTERVAL_SEC
                else:
                    pause = INTERVAL_SEC
                    self._asked, self._standings = asked, standings
                    turned, self._turned = self._turned, asyncio.Event()
                    turned.set()
                await asyncio.sleep(pause)
        finally:
            self._asking = None
