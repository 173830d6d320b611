"""A disk that is full, and a limit on the size of files: uploads are told to come again and leave nothing, live callers
do not care, and the server goes on when there is room again."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.fault.conftest import PATIENCE, SPEECH, desk
from tests.protocol.sound import synthesize
from tests.support.caller import transcribe
from tests.support.process import ServerProcess
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
DISK_BYTES = 24 * 2**20
LONG = SPEECH + bytes(8 * 2**20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory; skips the test where it cannot be had."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root, with the right to mount, can make a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "ballast"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return path


def stored(folder: Path) -> list[str]:
    return [path.name for path in (folder / "objects").rglob("*") if path.is_file()]


async def test_a_full_disk_refuses_uploads_and_nothing_else(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with desk(small_disk) as at:
        await at.works()
        assert await at.is_refused(await at.submit(SPEECH + bytes(2 * DISK_BYTES))), "an upload that does not fit"
        assert not stored(small_disk)
        await at.works()
        ballast = fill(small_disk)
        assert await at.is_refused(await at.submit(LONG))
        assert await at.is_refused(await at.submit(SPEECH)), "the database is full as well"
        assert (await transcribe(at.server.ws_url, VOICE, INT16)).finals
        assert (await at.http.get("/readyz")).status_code == 200
        ballast.unlink()
        await at.works()
        assert (await at.http.get("/metrics")).status_code == 200
        async with asyncio.timeout(PATIENCE):
            while stored(small_disk):
                await asyncio.sleep(0.05)


async def test_a_server_that_may_write_no_more_goes_on_with_live_callers(tmp_path: Path) -> None:
    """Neither its log nor its database takes a byte; the signal that comes with this must not end it."""
    server = ServerProcess(tmp_path, job_worker="elsewhere", log_level="debug")
    try:
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=PATIENCE) as http:
            files, form = {"file": ("speech.wav", SPEECH, "audio/wav")}, {"model": "moonshine-tiny"}
            for _ in range(3):
                answer = await http.post("/v1/transcription-jobs", files=files, data=form)
                assert answer.status_code == 503, answer.text
                assert answer.headers["Retry-After"]
            assert (await transcribe(f"ws://127.0.0.1:{server.port}/ws", VOICE, INT16)).events
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
            assert (await http.post("/v1/transcription-jobs", files=files, data=form)).status_code == 202
        assert server.stop() == 0
    finally:
        server.stop()
    assert len(stored(tmp_path / "data")) == 1
