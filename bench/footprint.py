"""The memory of a process and of all that it started, looked at again and again. It does not know what they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psutil

INTERVAL_SEC: Final = 0.2
_MIB: Final = 2**20


@dataclass(slots=True)
class Footprint:
    """The most that was seen at once, in MiB, over all processes of the tree.

    ``proportional`` (PSS): memory that several processes share counts once; 0 where the system does not tell.
    ``resident`` (RSS): it counts once for each. ``processes``: how many there were then.
    """

    proportional: float = 0.0
    resident: float = 0.0
    processes: int = 0
    samples: int = 0

    @property
    def mib(self) -> float:
        """What the tree takes from the machine, as well as the system tells."""
        return self.proportional or self.resident

    def look(self, root: psutil.Process) -> None:
        """Take one more sample."""
        resident = proportional = 0.0
        processes = 0
        for process in (root, *root.children(recursive=True)):
            try:
                memory = process.memory_full_info()
            except psutil.NoSuchProcess:  # it ended meanwhile
                continue
            resident += memory.rss / _MIB
            proportional += getattr(memory, "pss", 0) / _MIB
            processes += 1
        self.resident = max(self.resident, resident)
        self.proportional = max(self.proportional, proportional)
        self.processes = max(self.processes, processes)
        self.samples += 1


@asynccontextmanager
async def watched(root: psutil.Process) -> AsyncIterator[Footprint]:
    """The footprint of a tree of processes while the block runs.

    Raises:
        psutil.NoSuchProcess: the root itself has ended.
    """
    footprint = Footprint()
    footprint.look(root)

    async def watch() -> None:
        while True:
            await asyncio.sleep(INTERVAL_SEC)
            await asyncio.to_thread(footprint.look, root)

    watching = asyncio.create_task(watch())
    try:
        yield footprint
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    footprint.look(root)
