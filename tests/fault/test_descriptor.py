"""A server that may open no more files: callers who are in go on, and so do new ones when others have left."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil

from tests.fault.conftest import PATIENCE
from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.process import ServerProcess
from tests.support.speech import pcm

INT16 = {"dtype": "int16"}
VOICE = pcm(synthesize("speech", 16_000, 16_000))
SPARE = 10
CONNECTIONS = 100
MOST_LINES = 50


async def test_a_server_without_descriptors_survives(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, job_worker="off")
    url = f"ws://127.0.0.1:{server.port}/ws"
    sockets: list[socket.socket] = []
    try:
        inside = await call(url, INT16)
        await inside.until("ready")
        used = len(os.listdir(f"/proc/{server.pid}/fd"))
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + SPARE, before[1]))
        for _ in range(CONNECTIONS):
            made = socket.socket()
            made.settimeout(5)
            sockets.append(made)
            with suppress(OSError):
                made.connect(("127.0.0.1", server.port))
        process = psutil.Process(server.pid)
        async with asyncio.timeout(PATIENCE):
            while "file descriptors run out" not in server.log.read_text():
                await asyncio.sleep(0.2)
        began = process.cpu_times()
        await asyncio.sleep(2.0)
        now = process.cpu_times()
        assert now.user + now.system - began.user - began.system < 1.0, "it does not spin"
        await inside.send(VOICE, "END")
        assert await inside.rest() == 1000
        assert inside.events[-1]["type"] == "done"
        for made in sockets:
            made.close()
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(OSError, httpx2.TransportError):
                    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
                        if (await http.get(f"{server.url}/readyz")).status_code == 200:
                            break
                await asyncio.sleep(0.1)
        assert (await transcribe(url, VOICE, INT16)).events
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        async with asyncio.timeout(PATIENCE):
            while "there are file descriptors again" not in server.log.read_text():
                await asyncio.sleep(0.2)
        assert server.stop() == 0
        lines = server.log.read_text().splitlines()
        assert len([line for line in lines if "file descriptors run out" in line]) == 1
        assert len([line for line in lines if "there are file descriptors again" in line]) == 1
        assert len(lines) < MOST_LINES, "a line, not a flood"
    finally:
        for made in sockets:
            made.close()
        server.stop()
