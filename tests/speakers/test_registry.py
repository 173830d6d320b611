"""Voices by name: whose they are, which are one person's, and how many there may be. On either database."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.queue import WorkQueue
from stream_server.jobs.store import JobStore
from stream_server.jobs.sweep import Sweeper
from stream_server.jobs.table import speaker_samples, speakers
from stream_server.keys import KeyStore
from stream_server.settings import Settings
from stream_server.speakers import registry as module
from stream_server.speakers.registry import SpeakerRegistry
from stream_server.speakers.turn import UNKNOWN
from tests.support.postgres import BOTH
from tests.support.tone import ToneEmbedder

EMBEDDER = ToneEmbedder()
"""One half at a cosine of 0.5."""


def at(degrees: float) -> NDArray[np.float32]:
    """A voice; two are the less alike the more degrees lie between them."""
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def add(registry: SpeakerRegistry, name: str, degrees: float, *, key: str = "k", project: str = "") -> dict[str, int]:
    return registry.add(key, project, name, at(degrees), EMBEDDER, seconds=5.0).samples


@BOTH
def test_the_voice_that_is_most_alike_is_named(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    add(registry, "Priya", 0)
    add(registry, "Rahul", 90)
    name, confidence = registry.identify("k", "", at(20), EMBEDDER)
    assert name == "Priya"
    assert confidence == pytest.approx(EMBEDDER.calibration.confidence(np.cos(np.radians(20))), abs=1e-6)
    assert registry.identify("k", "", at(80), EMBEDDER)[0] == "Rahul"


@BOTH
def test_an_accent_is_the_same_however_it_is_written(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    add(registry, "Zo\u00eb", 0, project="caf\u00e9")
    assert add(registry, "Zoe\u0308", 5, project="cafe\u0301") == {EMBEDDER.name: 2}
    assert [speaker.name for speaker in registry.all("k", "cafe\u0301")] == ["Zo\u00eb"]
    assert registry.delete("k", "caf\u00e9", "Zoe\u0308")


@BOTH
def test_who_is_like_nobody_is_unknown(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    assert registry.identify("k", "", at(0), EMBEDDER) == (UNKNOWN, 0.0)
    add(registry, "Priya", 0)
    name, confidence = registry.identify("k", "", at(61), EMBEDDER)
    assert name == UNKNOWN
    assert 0.4 < confidence < 0.5


@BOTH
def test_keys_and_projects_do_not_know_of_each_other(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    add(registry, "Priya", 0, project="desk")
    for key, project in (("other", "desk"), ("k", ""), ("k", "Desk")):
        assert registry.identify(key, project, at(0), EMBEDDER) == (UNKNOWN, 0.0)
        assert registry.all(key, project) == []
        assert not registry.delete(key, project, "Priya")
        add(registry, "Priya", 90, key=key, project=project)  # the name is free there, for another voice too
    assert registry.identify("k", "desk", at(0), EMBEDDER)[0] == "Priya"


@BOTH
def test_further_samples_make_a_voice_better_known(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    assert add(registry, "Priya", 0) == {"tone": 1}
    assert registry.identify("k", "", at(70), EMBEDDER)[0] == UNKNOWN
    assert add(registry, "Priya", 40) == {"tone": 2}
    assert registry.identify("k", "", at(70), EMBEDDER)[0] == "Priya"


@BOTH
def test_another_voice_does_not_take_a_name(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    add(registry, "Priya", 0)
    with pytest.raises(JobError, match=r"another voice is registered as 'Priya' \(.*: 0\.00\)") as caught:
        add(registry, "Priya", 90)
    assert (caught.value.reason, caught.value.parameter) == (Reason.CONFLICT, "name")
    assert [speaker.samples for speaker in registry.all("k", "")] == [{"tone": 1}]


@BOTH
def test_samples_of_another_model_are_kept_and_not_compared(database: sa.Engine) -> None:
    registry, other = SpeakerRegistry(database), ToneEmbedder("other")
    add(registry, "Priya", 0)
    assert registry.identify("k", "", at(0), other) == (UNKNOWN, 0.0)
    known = registry.add("k", "", "Priya", at(90), other, seconds=5.0)
    assert known.samples == {"tone": 1, "other": 1}
    assert registry.identify("k", "", at(0), EMBEDDER)[0] == "Priya"
    assert registry.identify("k", "", at(90), other)[0] == "Priya"


@BOTH
def test_speakers_are_listed_by_age(database: sa.Engine) -> None:
    times = iter([5.0, 7.0, 9.0])
    registry = SpeakerRegistry(database, clock=lambda: next(times))
    for name in ("Zoe", "Adam", "Zoe"):
        add(registry, name, 0)
    listed = [(speaker.name, speaker.registered_at, speaker.samples) for speaker in registry.all("k", "")]
    assert listed == [("Zoe", 5.0, {"tone": 2}), ("Adam", 7.0, {"tone": 1})]


@BOTH
def test_a_deleted_speaker_is_forgotten_with_all_samples(database: sa.Engine) -> None:
    registry = SpeakerRegistry(database)
    add(registry, "Priya", 0)
    add(registry, "Priya", 10)
    assert registry.delete("k", "", "Priya")
    assert not registry.delete("k", "", "Priya")
    assert registry.identify("k", "", at(0), EMBEDDER) == (UNKNOWN, 0.0)
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(speaker_samples)) == 0
    assert add(registry, "Priya", 90) == {"tone": 1}


def test_there_are_only_so_many_samples_and_speakers(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MOST_SAMPLES", 2), ("MOST_SPEAKERS", 2), ("MOST_OF_KEY", 3)):
        monkeypatch.setattr(module, name, most)
    registry = SpeakerRegistry(database)
    add(registry, "a", 0)
    add(registry, "a", 0)
    with pytest.raises(JobError, match="'a' has 2 samples, the most there are") as of_samples:
        add(registry, "a", 0)
    add(registry, "b", 0)
    with pytest.raises(JobError, match="the project has 2 speakers") as of_project:
        add(registry, "c", 0)
    add(registry, "c", 0, project="desk")
    with pytest.raises(JobError, match="this API key has 3 speakers in its projects") as of_key:
        add(registry, "d", 0, project="desk")
    add(registry, "d", 0, key="other")
    assert {error.value.reason for error in (of_samples, of_project, of_key)} == {Reason.CONFLICT}
    assert [len(registry.all("k", project)) for project in ("", "desk")] == [2, 1]


@BOTH
def test_two_voices_that_come_at_once_are_compared_too(database: sa.Engine) -> None:
    registry, start = SpeakerRegistry(database), threading.Barrier(2)

    def register(degrees: float) -> bool:
        start.wait(10)
        try:
            add(registry, "Priya", degrees)
        except JobError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(register, (0, 90))) == [False, True]
    assert [speaker.samples for speaker in registry.all("k", "")] == [{"tone": 1}]


def test_voices_go_with_the_jobs_of_a_revoked_key(settings: Settings, database: sa.Engine) -> None:
    registry, keys = SpeakerRegistry(database), KeyStore(database, b"secret")
    for name, age in (("old", 40), ("new", 20), ("valid", None)):
        stored, _ = keys.create(name, scopes=["transcribe"], now=0.0)
        if age is not None:
            assert keys.revoke(stored.id, time.time() - age * 86_400)
        add(registry, name, 0, key=stored.id)
    add(registry, "static", 0, key="key_of_the_settings")
    queue = WorkQueue(database)
    store = JobStore(database, queue, most_unfinished=5)
    objects = ObjectStore(settings, database, "process")
    sweeper = Sweeper(
        settings.model_copy(update={"job_retention": 30 * 86_400.0}), database, store, objects, queue, process="process"
    )
    sweeper.retire()
    queue.close()
    with database.connect() as connection:
        assert set(connection.scalars(sa.select(speakers.c.name))) == {"new", "valid", "static"}
        assert connection.scalar(sa.select(sa.func.count()).select_from(speaker_samples)) == 3
