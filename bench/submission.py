"""Recordings handed to a server as jobs, over HTTP as any caller does it. It does not know what is measured by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.report import Advance

POLL_SEC: Final = 0.25
_PATH: Final = "/v1/transcriptions"
_AT_ONCE: Final = 4  # uploads
_PATIENCE_SEC: Final = 600.0  # for one answer: an upload of 4 hours takes a while on a busy machine
_STILL_SEC: Final = 180.0  # one percent of 4 hours may take long beside other work, but not that long
_UNFINISHED: Final = ("queued", "processing")


class SubmissionError(Exception):
    """The server did not take a job, or failed at it; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What came of a job."""

    text: str
    segments: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far some jobs are: ``share`` is how much of all of them has been done."""

    completed: int
    unfinished: int
    share: float


class Desk:
    """Where jobs are handed in and asked after."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._uploads = asyncio.Semaphore(_AT_ONCE)

    async def submit(self, path: Path) -> str:
        """Upload a file; the id of its job.

        Raises:
            SubmissionError: it was not taken.
        """
        async with self._uploads:
            with path.open("rb") as file:
                body = await self._ask("POST", _PATH, files={"file": (path.name, file)}, data={"mode": "async"})
        return str(body["id"])

    async def result(self, job: str, advance: Advance = lambda share: None) -> Transcript:
        """Wait for the transcript of a job; ``advance`` is told the share that has been done since.

        Raises:
            SubmissionError: the job failed, or nobody works on it.
        """
        done, moved = 0.0, time.monotonic()
        while (body := await self._ask("GET", f"{_PATH}/{job}"))["status"] in _UNFINISHED:
            if (share := _share(body)) != done:
                advance(share - done)
                done, moved = share, time.monotonic()
            elif time.monotonic() > moved + _STILL_SEC:
                raise SubmissionError(f"a job has not moved for {_STILL_SEC:g} s: it is {body['status']}")
            await asyncio.sleep(POLL_SEC)
        if body["status"] != "completed":
            raise SubmissionError(f"a job ended as {body['status']}: {body['error']}")
        advance(1.0 - done)
        return Transcript(body["text"], len(body["segments"]))

    async def standing(self, jobs: Sequence[str]) -> Standing:
        """How far jobs are, of which there are at most a hundred, all among the newest.

        Raises:
            SubmissionError: one of them has failed, or is not there.
        """
        listed = await self._ask("GET", _PATH, params={"limit": 100})
        found = {entry["id"]: entry for entry in listed["data"] if entry["id"] in set(jobs)}
        if len(found) < len(jobs):
            raise SubmissionError(f"{len(jobs) - len(found)} jobs are not there any more")
        states = [entry["status"] for entry in found.values()]
        if lost := sorted(set(states) - {*_UNFINISHED, "completed"}):
            raise SubmissionError(f"jobs ended as {', '.join(lost)}")
        completed = states.count("completed")
        return Standing(completed, len(states) - completed, sum(map(_share, found.values())) / len(found))

    async def delete(self, jobs: Sequence[str]) -> None:
        """Give up jobs, and what is known of them.

        Raises:
            SubmissionError: one is not there.
        """
        for job in jobs:
            await self._ask("DELETE", f"{_PATH}/{job}")

    async def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            response = await self._client.request(method, path, **content)
        except httpx2.HTTPError as error:
            raise SubmissionError(f"{method} {path}: {error or type(error).__name__}") from None
        if not response.is_success:
            raise SubmissionError(f"{method} {path}: HTTP {response.status_code}: {response.text[:500]}")
        body: dict[str, Any] = response.json()
        return body


@asynccontextmanager
async def open_desk(url: str) -> AsyncIterator[Desk]:
    """The desk of a server; ``url`` is its HTTP address."""
    async with httpx2.AsyncClient(base_url=url, timeout=_PATIENCE_SEC, trust_env=False) as client:
        yield Desk(client)


def _share(body: dict[str, Any]) -> float:
    """How much of a job has been done."""
    if body["status"] == "completed":
        return 1.0
    return body["progress"]["percent"] / 100 if body["progress"] else 0.0
