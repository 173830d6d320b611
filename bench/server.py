"""The server under test, in a process of its own, and what it costs. It does not know what is sent to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from stream_server.child import running_server


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: the addresses of its WebSocket and of everything else, and its process."""

    url: str
    http_url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, and of the processes it started, since its start."""
        total = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
        return total

    def waiting_seconds(self) -> float | None:
        """Time in which its threads were ready to run and had no core, since its start; None where that is unknown.

        Source: the second figure of Linux's ``/proc/PID/task/TID/schedstat``, in nanoseconds.
        """
        total = None
        for thread in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread may end meanwhile
                total = (total or 0.0) + int(thread.read_text().split()[1]) / 1e9
        return total

    def memory_mib(self) -> float:
        return float(self.process.memory_info().rss) / 2**20


@asynccontextmanager
async def start_server(*options: str) -> AsyncIterator[Server]:
    """Run ``stream-server serve`` on a free port until the end of the block.

    Raises:
        ChildError: it did not start.
    """
    async with running_server(*options) as address:
        port = address.rpartition(":")[2]
        process = next(child for child in psutil.Process().children() if port in child.cmdline())
        yield Server(f"ws://{address}/ws", f"http://{address}", process)


def machine_cpu_seconds() -> float:
    """CPU time of all processes of this machine since its start, as far as it can be seen."""
    times = psutil.cpu_times()._asdict()
    # Time of guests is contained in user and nice; stolen time is not ours.
    idle = {"idle", "iowait", "steal", "guest", "guest_nice"}
    return sum(float(seconds) for name, seconds in times.items() if name not in idle)
