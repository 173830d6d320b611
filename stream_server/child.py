"""A server in a process of its own, for the demo and the benchmark. It knows the command line and ``/readyz``."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
_START_SEC: Final = 120.0  # to load the model on a slow disk
_STOP_SEC: Final = 15.0


class ChildError(Exception):
    """The server did not start; the message ends with what it said last."""


@asynccontextmanager
async def running_server(*options: str) -> AsyncIterator[str]:
    """Run ``stream-server serve`` with ``options`` on a free port; gives the address, ``HOST:PORT``.

    What it writes goes to a temporary folder, and it is stopped at the end.

    Raises:
        ChildError: it ended, or was not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="stream-server-") as folder:
        port = _free_port()
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "stream_server", "serve", "--host", HOST, "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - starts at once; our own command
                [*command, "--data-dir", folder, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is ours to handle: captions are finished first
            )
        try:
            await _until_ready(process, f"http://{HOST}:{port}/readyz", log)
            yield f"{HOST}:{port}"
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, _STOP_SEC)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SEC
    while not await asyncio.to_thread(_answers, url):
        if process.poll() is not None:
            raise ChildError(f"the server did not start: {_last_line(log) or f'exit status {process.returncode}'}")
        if time.monotonic() > deadline:
            raise ChildError(f"the server was not ready after {_START_SEC:g} s: {_last_line(log)}")
        await asyncio.sleep(0.1)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is never behind a proxy
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else ""


def _environment() -> dict[str, str]:
    """Ours without the API keys: this server is for us alone, and listens on this machine only."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SERVER_API_KEY")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
