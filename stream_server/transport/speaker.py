"""What the speaker routes speak to: samples of voices are taken from recordings, a few at a time and never in the event
loop, and known by name in the registry. It knows no dialect.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import BinaryIO, Final

import sqlalchemy as sa

from stream_server.audio.vad import VadModel
from stream_server.auth import Caller
from stream_server.engine.memory import release_memory
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.reader import UnreadableError
from stream_server.jobs.thread import undivided
from stream_server.quota import Quota, record_usage
from stream_server.speakers.ability import SpeakerAbilities
from stream_server.speakers.diarizer import Diarizer, DiarizerError
from stream_server.speakers.embedder import Embedder, EmbedderError
from stream_server.speakers.registry import RegisteredSpeaker, SpeakerRegistry
from stream_server.speakers.sample import ENROLLED_SEC, SHORTEST_SEC, VoiceSample, take_sample

logger = logging.getLogger(__name__)

SAMPLES_AT_ONCE: Final = 2
MOST_WAITING: Final = 16
"""Samples that are taken or wait for it; whoever comes then is told to try again."""
MOST_NAMED: Final = 10
"""Speakers whose names stand in a message."""


class SpeakerDesk:
    """Registers and identifies speakers, each caller seeing only its own.

    embedder, diarizer: give the models, which they load when they are first asked for. vad: finds speech where the
    settings have no diarizer.
    """

    def __init__(
        self,
        database: sa.Engine,
        objects: ObjectStore,
        quota: Quota,
        abilities: SpeakerAbilities,
        embedder: Callable[[], Embedder],
        diarizer: Callable[[], Diarizer],
        vad: VadModel,
    ) -> None:
        self._database = database
        self._registry = SpeakerRegistry(database)
        self._objects = objects
        self._quota = quota
        self._abilities = abilities
        self._embedder = embedder
        self._diarizer = diarizer
        self._vad = vad
        self._free = threading.BoundedSemaphore(MOST_WAITING)
        self._threads = ThreadPoolExecutor(SAMPLES_AT_ONCE, thread_name_prefix="sample")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="speaker-model")
        self._asked: Future[Embedder] | None = None

    def close(self) -> None:
        """Blocks until nothing is being listened to."""
        for threads in (self._threads, self._asking):
            threads.shutdown(wait=True, cancel_futures=True)

    def require_identification(self) -> None:
        """Raises: JobError: ``FEATURE_UNAVAILABLE``, where voices cannot be recognized."""
        if self._abilities.no_identification is not None:
            raise JobError(Reason.FEATURE_UNAVAILABLE, self._abilities.no_identification)

    async def register(self, caller: Caller, name: str, project: str, audio: str) -> str:
        """Make a speaker known by the recording in the object ``audio``; says how that went.

        Raises:
            JobError: it is no sample of one voice; CONFLICT: another voice has the name, or there are too many;
                SERVICE_UNAVAILABLE: too much to do, or the model has failed.
        """
        embedder, sample = await self._listen(caller, self._stored(audio), ENROLLED_SEC)

        def add() -> RegisteredSpeaker:
            return self._registry.add(caller.id, project, name, sample.vector, embedder, seconds=sample.speech_sec)

        known = await undivided(add)
        count = known.samples[embedder.name]
        others = sum(known.samples.values()) - count
        message = "Registered successfully" if count == 1 else f"Registered successfully; there are {count} samples now"
        if others:
            message += f"; {others} of another model than {embedder.name} are not used"
        return message

    async def all(self, caller: Caller, project: str) -> tuple[list[RegisteredSpeaker], str | None]:
        """The speakers of a project, and what is the matter where some of them cannot be recognized."""
        found = await asyncio.to_thread(self._registry.all, caller.id, project)
        if self._abilities.no_identification is not None:
            return found, f"none of them is recognized: {self._abilities.no_identification}" if found else None
        if not found:
            return found, None
        try:
            model = await self._model()
        except EmbedderError as error:
            return found, f"none of them is recognized: {_failed(error).message}"
        mute = [speaker.name for speaker in found if model not in speaker.samples]
        if not mute:
            return found, None
        names = ", ".join(mute[:MOST_NAMED]) + (", ..." if len(mute) > MOST_NAMED else "")
        return found, f"registered with another model than {model}, and not recognized until registered again: {names}"

    async def identify(self, caller: Caller, project: str, audio: str) -> tuple[str, float]:
        """Who speaks in the recording in the object ``audio``, and how sure that is from 0 to 1.

        Raises:
            JobError: as `register`, but for CONFLICT.
        """
        embedder, sample = await self._listen(caller, self._stored(audio), SHORTEST_SEC)
        return await asyncio.to_thread(self._registry.identify, caller.id, project, sample.vector, embedder)

    async def sample(self, caller: Caller, audio: BinaryIO) -> tuple[Embedder, VoiceSample]:
        """The voice in a recording that is in memory, and with which model it was found; nothing of it is kept.

        Raises:
            JobError: as `register`, but for CONFLICT.
        """
        return await self._listen(caller, nullcontext(audio), SHORTEST_SEC)

    async def delete(self, caller: Caller, name: str, project: str) -> None:
        """Forget a speaker.

        Raises:
            JobError: ``NOT_FOUND``.
        """
        if not await undivided(self._registry.delete, caller.id, project, name):
            where = f"the project {project!r}" if project else "the project without a name"
            raise JobError(Reason.NOT_FOUND, f"there is no speaker {name!r} in {where}", parameter="name")

    async def _model(self) -> str:
        """The name of the model. To load it may take minutes: all who wait for that share one thread, which nobody else
        needs.

        Raises:
            EmbedderError: it cannot be had.
        """
        if self._asked is None or self._asked.done():
            self._asked = self._asking.submit(self._embedder)
        return (await asyncio.shield(asyncio.wrap_future(self._asked))).name

    async def _listen(
        self, caller: Caller, audio: AbstractContextManager[BinaryIO], shortest_sec: float
    ) -> tuple[Embedder, VoiceSample]:
        await self._quota.check_hours(caller)
        if not self._free.acquire(blocking=False):
            raise JobError(Reason.SERVICE_UNAVAILABLE, "too many recordings are being listened to; try again")
        listening = self._threads.submit(self._take, audio, shortest_sec)
        listening.add_done_callback(lambda _: self._free.release())
        # Cancelled when the caller hangs up: one that has not begun never will, one that has comes to nothing.
        embedder, sample = await asyncio.wrap_future(listening)
        await undivided(record_usage, self._database, caller.id, file_seconds=sample.heard_sec)
        return embedder, sample

    def _take(self, audio: AbstractContextManager[BinaryIO], shortest_sec: float) -> tuple[Embedder, VoiceSample]:
        try:
            embedder = self._embedder()
            # The embedded one, as for live callers.
            diarizer = self._diarizer() if self._abilities.no_live_diarization is None else None
            with audio as file:
                return embedder, take_sample(file, embedder, diarizer, self._vad, shortest_sec=shortest_sec)
        except UnreadableError as error:
            raise JobError(Reason.SERVICE_UNAVAILABLE, "the recording cannot be read just now") from error
        except (EmbedderError, DiarizerError) as error:
            raise _failed(error) from error
        finally:
            release_memory()  # a long sample has taken some hundred megabytes, which would stay with this process

    @contextmanager
    def _stored(self, name: str) -> Iterator[BinaryIO]:
        with self._objects.open(name) as file:
            try:
                yield file
            finally:
                file.check()


def _failed(error: Exception) -> JobError:
    logger.error("voices cannot be compared: %s", error, exc_info=error)
    return JobError(Reason.SERVICE_UNAVAILABLE, "the model of voices has failed; the server's log says why")
