"""A worker as a process: ``stream-server worker``, and the server's own, which is started, watched and stopped here.

The worker's process has the lowest priority the machine knows, so that live callers never wait for it; and what a
recording does to the decoders it does there, not to the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Final

from stream_server.audio.vad import VadSettings, load_vad
from stream_server.engine.engine import Engine
from stream_server.engine.registry import load_recognizer
from stream_server.jobs.database import open_database
from stream_server.jobs.process import Heartbeat, new_process_id
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.worker import Worker, places
from stream_server.priority import give_way
from stream_server.settings import PREFIX, Settings
from stream_server.speakers.service import load_speakers

logger = logging.getLogger(__name__)

FIRST_PAUSE_SEC: Final = 0.5
LONGEST_PAUSE_SEC: Final = 30.0
STOP_PATIENCE_SEC: Final = 20.0
LOOK_SEC: Final = 0.5
STEP_PATIENCE: Final = 20
"""By how much longer a step of a worker may take than the server's: it gets only the time that others leave."""

MEMORY: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""The C library's: one heap for all threads, and large pieces back to the system at once. The worker takes a third less
for it, and a tenth more time; live callers would wait longer, so it is not for the server."""


def run_worker(settings: Settings, *, with_parent: bool) -> int:
    """Work on jobs until a signal comes; the exit status. ``with_parent``: end when stdin does, too.

    Raises:
        DatabaseError, UnknownModelError, DeviceError, CheckpointError, VadUnavailableError: before anything is begun.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if with_parent:
        # Ctrl-C is for the server, which then stops its worker. Not a session of its own: Linux shares the processor
        # between sessions first, and the lowest priority in one is as good as any in another.
        with suppress(OSError):  # it leads one already
            os.setpgid(0, 0)
        threading.Thread(target=_die_with_parent, name="parent", daemon=True).start()
    database = open_database(settings, places=sum(places(settings).values()), create=False)
    process = new_process_id()
    heart = Heartbeat(database, process, works=True)  # at the usual priority: a worker that gets no time is not dead
    give_way()
    try:
        # Half of the cores, where the settings leave it open: the others are for whoever else is here.
        threads = settings.threads or max(1, (os.cpu_count() or 1) // 2)
        few = settings.model_copy(
            update={"max_sessions": 1, "threads": threads, "step_timeout": STEP_PATIENCE * settings.step_timeout}
        )
        recognizer = load_recognizer(settings.model, few.recognizer)
        engine = Engine(recognizer, few.engine)
        engine.start()
        queue = WorkQueue(database)
        vad, speakers = load_vad(settings.vad, VadSettings()), load_speakers(settings)
        worker = Worker(settings, database, queue, engine, vad, speakers, process=process)
        worker.start()
        while not stopping.wait(LOOK_SEC) and engine.is_alive:
            pass
        worker.stop()
        failed = not engine.is_alive
        engine.stop()
        queue.close()
    finally:
        heart.close()
    return 1 if failed else 0


class WorkerProcess:
    """The server's worker: started anew when it ends by itself, sooner at first and later more patiently."""

    def __init__(self, settings: Settings) -> None:
        # Variables of ours that are not among the settings (keys, for one) are nothing to a worker.
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment = others | settings.environment() | MEMORY
        self._process: asyncio.subprocess.Process | None = None
        self._watching = asyncio.create_task(self._watch())

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def stop(self) -> None:
        """Let it leave what it works on to the next one; it is killed when that takes too long."""
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_PATIENCE_SEC)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _watch(self) -> None:
        pause = FIRST_PAUSE_SEC
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "stream_server", "worker", "--with-parent"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.DEVNULL,
                    env=self._environment,
                )
                status = await self._process.wait()
            except OSError as error:  # no memory or no process to be had
                logger.error("the worker cannot be started: %s; trying again in %g s", error, pause)
            else:
                logger.error("the worker ended with status %d; another one starts in %g s", status, pause)
            if loop.time() - started > LONGEST_PAUSE_SEC:
                pause = FIRST_PAUSE_SEC
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SEC)


def _die_with_parent() -> None:
    """The parent holds the other end of stdin: when that closes it is gone, however it went."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGKILL)
