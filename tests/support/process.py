"""``stream-server`` in processes of its own, as an operator runs it, so that it can be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

START_SEC: Final = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One command, in a session of its own; its output goes to a file in ``folder``."""

    def __init__(self, folder: Path, *arguments: str, **settings: object) -> None:
        self._command = [sys.executable, "-m", "stream_server", *arguments]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SERVER_")}
        own = {f"STREAM_SERVER_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = inherited | own
        self.log = folder / f"{arguments[0]}.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def children(self) -> list[int]:
        """Processes that it has started."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(child) for path in tasks for child in path.read_text().split()]


class ServerProcess(Process):
    """``stream-server serve`` on a free port; ready when the constructor returns, and after `restart`."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = free_port()
        super().__init__(folder, "serve", "--port", str(self.port), data_dir=folder / "data", **settings)
        self.wait_ready()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def restart(self) -> None:
        self.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_SEC
        while time.monotonic() < deadline:
            assert self.is_running, self.log.read_text()[-2000:]
            try:
                with opener.open(f"{self.url}/readyz", timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server was not ready: {self.log.read_text()[-2000:]}")
