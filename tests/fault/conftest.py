"""A server with jobs, whose worker hears with a fake model, and how it is used here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from stream_server.engine.moonshine.asset import find_recording
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server

PATIENCE = 60.0
SPEECH = find_recording("beckett.wav").read_bytes()


@dataclass
class Desk:
    """A caller of the jobs of one server."""

    server: Running
    http: httpx2.AsyncClient

    async def submit(self, audio: bytes = SPEECH) -> httpx2.Response:
        files = {"file": ("speech.wav", audio, "audio/wav")}
        return await self.http.post("/v1/transcription-jobs", files=files, data={"model": "fake"})

    async def get(self, job: str) -> httpx2.Response:
        return await self.http.get(f"/v1/transcription-jobs/{job}")

    async def is_refused(self, answer: httpx2.Response) -> bool:
        """Whether the answer is that of a store that is away: come again."""
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        return True

    async def until_done(self, job: str) -> dict[str, Any]:
        """The job when it has ended; what is answered meanwhile may be a refusal."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.get(job)
                if answer.status_code == 200 and answer.json()["status"] in ("completed", "failed"):
                    found: dict[str, Any] = answer.json()
                    return found
                await asyncio.sleep(0.05)

    async def works(self, audio: bytes = SPEECH) -> None:
        """A job is taken and done, sooner or later."""
        async with asyncio.timeout(PATIENCE):
            while (answer := await self.submit(audio)).status_code != 202:
                assert await self.is_refused(answer)
                await asyncio.sleep(0.1)
        assert (await self.until_done(answer.json()["id"]))["status"] == "completed"


@asynccontextmanager
async def desk(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    async with (
        running_server(FakeRecognizer(), data_dir=folder, **{"job_worker": "inline", **settings}) as server,
        httpx2.AsyncClient(base_url=server.http_url, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield Desk(server, http)
