"""Whom the speakers of a job may be."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from stream_server.jobs.job import TranscriptionOptions
from stream_server.jobs.voice import known_voice, voices_of, wants_names
from stream_server.speakers.registry import SpeakerRegistry
from stream_server.speakers.turn import UNKNOWN
from tests.support.tone import ToneEmbedder, voice

PRIYA, RAHUL, LUCKY = 400, 1200, 2800
MODEL = ToneEmbedder()


def vector(pitch: int) -> np.ndarray:
    return MODEL.embed(voice(pitch, 2))


@pytest.fixture
def registry(database: sa.Engine) -> SpeakerRegistry:
    made = SpeakerRegistry(database)
    made.add("k", "desk", "Priya", vector(PRIYA), MODEL, seconds=2.0)
    return made


def test_nobody_is_wanted_by_default(registry: SpeakerRegistry) -> None:
    options = TranscriptionOptions(project="desk")
    assert not wants_names(options)
    assert voices_of(options, "k", registry, MODEL).identify(vector(PRIYA)) == (UNKNOWN, 0.0)


def test_who_is_registered_in_the_project(registry: SpeakerRegistry) -> None:
    options = TranscriptionOptions(identify_speakers=True, project="desk")
    assert wants_names(options)
    assert voices_of(options, "k", registry, MODEL).identify(vector(PRIYA))[0] == "Priya"
    assert voices_of(options, "x", registry, MODEL).names == ()


def test_who_came_with_the_request(registry: SpeakerRegistry) -> None:
    """As the options are read back from the store; and nobody else."""
    options = TranscriptionOptions(known_voices=(known_voice("Lucky", vector(LUCKY), MODEL),))
    options = TranscriptionOptions.model_validate_json(options.model_dump_json())
    assert wants_names(options)
    voices = voices_of(options, "k", registry, MODEL)
    assert voices.names == ("Lucky",)
    np.testing.assert_array_equal(voices.centers, [vector(LUCKY)])
    assert voices.identify(vector(LUCKY))[0] == "Lucky"
    assert voices.identify(vector(PRIYA))[0] == UNKNOWN


def test_both_and_who_came_with_the_request_goes_before(registry: SpeakerRegistry) -> None:
    known = (known_voice("Lucky", vector(LUCKY), MODEL), known_voice("Priya", vector(RAHUL), MODEL))
    options = TranscriptionOptions(identify_speakers=True, project="desk", known_voices=known)
    voices = voices_of(options, "k", registry, MODEL)
    assert sorted(voices.names) == ["Lucky", "Priya"]
    assert voices.identify(vector(RAHUL))[0] == "Priya"
    assert voices.identify(vector(PRIYA))[0] == UNKNOWN


def test_voices_of_another_model_are_not_compared(registry: SpeakerRegistry) -> None:
    options = TranscriptionOptions(known_voices=(known_voice("Lucky", vector(LUCKY), ToneEmbedder("other")),))
    assert voices_of(options, "k", registry, MODEL).names == ()
