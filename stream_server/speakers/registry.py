"""The voices that are known by name, kept in the database for each API key and project.

What is kept of a voice is a vector, which means something to one model only: samples of another model than the one that
is set are kept and counted, and never compared. It does not know recordings, nor who may ask.
"""

from __future__ import annotations

import time
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite

from stream_server.jobs.database import rows, writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.table import speaker_samples, speakers
from stream_server.speakers.embedder import SAME, Calibration, Embedder
from stream_server.speakers.turn import UNKNOWN

MOST_SAMPLES: Final = 20
"""Of one speaker, with one model."""
MOST_SPEAKERS: Final = 1000
"""In one project."""
MOST_OF_KEY: Final = 10_000
"""Speakers in all projects of one API key."""

OTHER_VOICE: Final = 0.05
"""Confidence under which a sample is not taken for a further one of the same speaker. Below `SAME`: a voice on another
day and another telephone is less like itself, and that is what further samples are for. With the embedded model 97 % of
the voices of others are refused, and nobody who was registered in clear audio and called by telephone."""

_VECTOR: Final = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class RegisteredSpeaker:
    """``samples``: by the name of the model that they were made with; ``registered_at`` since the epoch."""

    name: str
    registered_at: float
    samples: dict[str, int]


@dataclass(frozen=True, slots=True)
class Voices:
    """The speakers of a project as one model knows them. ``centers``: ``[speakers, n]``, the mean of the samples of
    each, of length 1."""

    names: tuple[str, ...]
    centers: NDArray[np.float32]
    calibration: Calibration

    def identify(self, vector: NDArray[np.float32]) -> tuple[str, float]:
        """Whose voice that is, and how sure that is from 0 to 1; `UNKNOWN` below `SAME`, with 0 where nobody is."""
        if not self.names:
            return UNKNOWN, 0.0
        cosines = self.centers @ vector
        best = int(np.argmax(cosines))
        confidence = self.calibration.confidence(float(cosines[best]))
        return self.names[best] if confidence >= SAME else UNKNOWN, confidence


class SpeakerRegistry:
    """Voices by name, for each API key and project. Every method asks the database, so call them outside the event
    loop.

    Raises, from every method:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be used.
    """

    def __init__(self, database: sa.Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, key: str, project: str, name: str, vector: NDArray[np.float32], embedder: Embedder, *, seconds: float
    ) -> RegisteredSpeaker:
        """A sample of this speaker, who becomes known by it or better known; ``seconds`` of speech are in it.

        Raises:
            JobError: ``CONFLICT``: another person's voice is registered under the name, or there are too many.
        """
        project, name = _composed(project), _composed(name)
        now, place = self._clock(), {"api_key": key, "project": project, "name": name}
        new = str(uuid.uuid4())
        with writing(self._database) as connection:
            insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            row = insert(speakers).values(id=new, registered_at=now, **place)
            # An update that changes nothing locks the row: two samples that come at once are compared with each other.
            kept = row.on_conflict_do_update(index_elements=list(place), set_={"name": row.excluded.name})
            connection.execute(kept)
            known = connection.execute(sa.select(speakers).where(_of(key, project, name))).one()
            if known.id == new:
                self._require_room(connection, key, project)
            of_model = speaker_samples.c.embedder == embedder.name
            wanted = sa.select(speaker_samples.c.vector).where(speaker_samples.c.speaker == known.id, of_model)
            samples = [_vector(found) for found in connection.scalars(wanted)]
            if samples:
                _require_same(name, samples, vector, embedder.calibration)
            if len(samples) >= MOST_SAMPLES:
                message = f"{name!r} has {len(samples)} samples, the most there are; delete the speaker to begin anew"
                raise JobError(Reason.CONFLICT, message, parameter="name")
            connection.execute(
                speaker_samples.insert().values(
                    id=str(uuid.uuid4()),
                    speaker=known.id,
                    embedder=embedder.name,
                    vector=vector.astype(_VECTOR).tobytes(),
                    seconds=seconds,
                    created_at=now,
                )
            )
            count = sa.select(speaker_samples.c.embedder, sa.func.count()).where(speaker_samples.c.speaker == known.id)
            counted = connection.execute(count.group_by(speaker_samples.c.embedder))
            return RegisteredSpeaker(name, known.registered_at, {row[0]: row[1] for row in counted})

    def all(self, key: str, project: str) -> list[RegisteredSpeaker]:
        """The speakers of a project, the oldest first."""
        count = sa.func.count(speaker_samples.c.id).label("count")
        statement = (
            sa.select(speakers.c.name, speakers.c.registered_at, speaker_samples.c.embedder, count)
            .join(speaker_samples, speaker_samples.c.speaker == speakers.c.id)
            .where(_of(key, project))
            .group_by(speakers.c.id, speaker_samples.c.embedder)
            .order_by(speakers.c.registered_at, speakers.c.id)
        )
        found: dict[str, RegisteredSpeaker] = {}
        with self._database.connect() as connection:
            for row in rows(connection, statement):
                speaker = found.setdefault(row["name"], RegisteredSpeaker(row["name"], row["registered_at"], {}))
                speaker.samples[row["embedder"]] = row["count"]
        return list(found.values())

    def delete(self, key: str, project: str, name: str) -> bool:
        """Forget a speaker and all samples; False where there is none of this name."""
        with writing(self._database) as connection:
            return connection.execute(speakers.delete().where(_of(key, project, name))).rowcount > 0

    def voices(self, key: str, project: str, embedder: Embedder) -> Voices:
        """What this model knows of the speakers of a project, to ask several times."""
        statement = (
            sa.select(speakers.c.name, speaker_samples.c.vector)
            .join(speaker_samples, speaker_samples.c.speaker == speakers.c.id)
            .where(_of(key, project), speaker_samples.c.embedder == embedder.name)
            .order_by(speakers.c.registered_at, speakers.c.id)
        )
        samples: dict[str, list[NDArray[np.float32]]] = {}
        with self._database.connect() as connection:
            for name, vector in connection.execute(statement):
                samples.setdefault(name, []).append(_vector(vector))
        centers = np.array([_center(each) for each in samples.values()], np.float32)
        return Voices(tuple(samples), centers, embedder.calibration)

    def identify(self, key: str, project: str, vector: NDArray[np.float32], embedder: Embedder) -> tuple[str, float]:
        """See `Voices.identify`."""
        return self.voices(key, project, embedder).identify(vector)

    @staticmethod
    def _require_room(connection: sa.Connection, key: str, project: str) -> None:
        """After one more was added: that there are not too many now."""
        count = sa.select(sa.func.count()).select_from(speakers)
        if (connection.scalar(count.where(_of(key, project))) or 0) > MOST_SPEAKERS:
            message = (
                f"the project has {MOST_SPEAKERS} speakers, the most there are; delete some, or take another project"
            )
            raise JobError(Reason.CONFLICT, message, parameter="project")
        if (connection.scalar(count.where(speakers.c.api_key == key)) or 0) > MOST_OF_KEY:
            message = f"this API key has {MOST_OF_KEY} speakers in its projects, the most there may be; delete some"
            raise JobError(Reason.CONFLICT, message)


def _of(key: str, project: str, name: str | None = None) -> sa.ColumnElement[bool]:
    condition = (speakers.c.api_key == key) & (speakers.c.project == _composed(project))
    return condition if name is None else condition & (speakers.c.name == _composed(name))


def _composed(name: str) -> str:
    """Unicode's form NFC: an accent may come with its letter or behind it, and is the same name."""
    return unicodedata.normalize("NFC", name)


def _require_same(
    name: str, samples: list[NDArray[np.float32]], vector: NDArray[np.float32], calibration: Calibration
) -> None:
    confidence = calibration.confidence(float(_center(samples) @ vector))
    if confidence < OTHER_VOICE:
        raise JobError(
            Reason.CONFLICT,
            f"another voice is registered as {name!r} (that it is the same one: {confidence:.2f}); "
            "take another name, or delete that speaker first",
            parameter="name",
        )


def _vector(stored: bytes) -> NDArray[np.float32]:
    return np.frombuffer(stored, _VECTOR).astype(np.float32)


def _center(samples: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    mean = np.mean(samples, axis=0)
    center: NDArray[np.float32] = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return center
